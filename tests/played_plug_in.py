"""A stand-in for OpenVINO's plug-in: onnxruntime's own CPU provider behind a plug-in's face.

It registers, lists devices and opens sessions as the real one does, and can refuse, lie or crash. It is played in the
tests' own process, and in processes that these start: those find `sitecustomize`, which calls `play_again`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime

CPU_PROVIDER = "CPUExecutionProvider"
FULL_NAME = "OpenVINOExecutionProvider"
VARIABLE = "PLAYED_PLUG_IN"
SITECUSTOMIZE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from tests.played_plug_in import play_again
play_again()
"""


@dataclass
class PlugIn:
    """An OpenVINO that is registered with onnxruntime, as far as sessions are concerned."""

    kinds: tuple[str, ...]
    """Kinds of its devices."""
    refuses: str = ""
    """What a session says that cannot be made."""
    lies_by: float = 0.0
    """What is added to every answer."""
    spares_products: bool = False
    """Whether it lies about pictures alone, and not about the small product by which a device is tried."""
    crashes_with: int = 0
    """The signal by which a run of a whole model ends the process."""
    fails_after_compiling: bool = False
    """Whether a session cannot be made although its engine was kept."""
    registered: list[tuple[str, str]] = field(default_factory=list)
    asked: dict[str, str] | None = None
    """Options of the last session."""
    compiled: int = 0
    """Times that it has compiled, and not found what it had kept."""
    entries: dict[str, str] = field(default_factory=dict)

    def behaves(self, **behaviour: Any) -> None:
        """Changes how it behaves, here and in processes that are started from now on."""
        for name, value in behaviour.items():
            setattr(self, name, value)
        facts = {
            name: getattr(self, name) for name in ("kinds", "refuses", "lies_by", "spares_products", "crashes_with")
        }
        os.environ[VARIABLE] = json.dumps(facts)

    def error(self, *, is_picture: bool) -> float:
        """What is added to an answer; the process ends where it crashes over pictures."""
        if self.crashes_with and is_picture:
            os.kill(os.getpid(), self.crashes_with)
        return 0.0 if self.spares_products and not is_picture else self.lies_by

    def devices(self) -> list[Any]:
        """What onnxruntime lists."""

        def device(name: str, kind: str) -> Any:
            hardware = SimpleNamespace(type=SimpleNamespace(name=kind.upper()), vendor="Intel", metadata={})
            metadata = {} if name == CPU_PROVIDER else {"library_path": self.registered[0][1]}
            return SimpleNamespace(ep_name=name, device=hardware, ep_metadata=metadata)

        own = [device(FULL_NAME, kind) for kind in self.kinds] if self.registered else []
        return [device(CPU_PROVIDER, "cpu"), *own]


def play(played: PlugIn, patch: Callable[[object, str, object], None] = setattr) -> None:
    """Puts the stand-in in onnxruntime's place, as far as plug-ins are concerned."""
    real = onnxruntime.InferenceSession

    class Options(onnxruntime.SessionOptions):
        def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
            assert [device.ep_name for device in devices] == [FULL_NAME]
            self.plugged = options

    class Session:
        def __init__(self, path: str, options: Any, **others: Any) -> None:
            self.plugged = hasattr(options, "plugged")
            if self.plugged:
                if played.refuses:
                    raise RuntimeError(played.refuses)
                played.asked = options.plugged
                key = "session.disable_cpu_ep_fallback"
                played.entries = {key: options.get_session_config_entry(key)}
                _compile(played)
                others = {"providers": [CPU_PROVIDER], "enable_fallback": 0}
            self.inner = real(path, onnxruntime.SessionOptions(), **others)

        def run(self, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
            off = played.error(is_picture="pixels" in inputs) if self.plugged else 0.0
            return [values + values.dtype.type(off) for values in self.inner.run(outputs, inputs)]

        def get_providers(self) -> list[str]:
            return [FULL_NAME, CPU_PROVIDER] if self.plugged else [CPU_PROVIDER]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    patch(onnxruntime, "SessionOptions", Options)
    patch(onnxruntime, "InferenceSession", Session)
    patch(onnxruntime, "get_ep_devices", played.devices)
    patch(
        onnxruntime,
        "get_available_providers",
        # As the real one: what is registered is available.
        lambda: [CPU_PROVIDER, *(name for name, _ in played.registered)],
    )
    patch(
        onnxruntime,
        "register_execution_provider_library",
        lambda *registering: played.registered.append(registering),
    )


def _compile(played: PlugIn) -> None:
    """Keeps what is compiled as the real one does, which does not look at what it finds there."""
    devices = json.loads(played.asked.get("load_config", "{}"))
    folders = [each["CACHE_DIR"] for each in devices.values() if "CACHE_DIR" in each]
    blob = Path(folders[0], "1.blob") if folders else None
    if blob is None or not blob.exists():
        played.compiled += 1
        if blob is not None:
            blob.write_bytes(b"engine")
    if played.fails_after_compiling:
        raise RuntimeError("no memory left")


def play_again() -> None:
    """Plays the same stand-in in a process that a test has started; does nothing in other processes."""
    if VARIABLE in os.environ:
        play(PlugIn(**json.loads(os.environ[VARIABLE])))


def library_at(path: Path) -> str:
    """A package's code that gives this path as its library."""
    return f"def get_library_path():\n    return {str(path)!r}\n"
