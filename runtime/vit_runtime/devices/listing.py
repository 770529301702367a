"""Lists what this machine can compute on: each provider's devices, and whether they work."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from vit_runtime.devices.child import Child, ChildError
from vit_runtime.devices.engine import import_onnxruntime, is_built_in, is_here, source_of
from vit_runtime.devices.hardware import hardware, processor_name
from vit_runtime.devices.options import Kind
from vit_runtime.devices.plugins import plugged_devices
from vit_runtime.devices.probe import PROBE, probe_is_right
from vit_runtime.devices.providers import CPU, EXECUTION_PROVIDERS, ExecutionProvider
from vit_runtime.devices.session import open_session
from vit_runtime.errors import VitEdgeError, is_command_line, one_line

_MADE_FOR: Final[dict[str, tuple[tuple[str, Kind], ...]]] = {
    "openvino": (("Intel", "cpu"), ("Intel", "gpu"), ("Intel", "npu")),
    "cuda": (("NVIDIA", "gpu"), ("Jetson", "gpu")),
}
"""Hardware by which a provider that is not installed is worth a line."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """Something to compute on, through one provider."""

    provider: str
    """What `provider` takes: "cpu", "openvino:gpu"."""
    kind: Kind
    name: str
    """The device's name; empty where the provider does not tell."""
    source: str
    """What brings the provider: "onnxruntime 1.32.0", "onnxruntime-ep-openvino 1.5.0"; empty where nothing does."""
    works: bool
    """Whether a small product came out right."""
    problem: str
    """Why it does not work, and what to do; empty where it works."""

    @property
    def is_installed(self) -> bool:
        """Whether something brings the provider."""
        return bool(self.source)


def list_devices(root: Path = Path("/")) -> list[Device]:
    """Lists the devices of all installed providers, then what would be worth installing.

    Each device computes a small product. Nothing is raised for a provider that fails: its line says why. All providers
    but onnxruntime's own for the CPU are tried in processes of their own, since some crash over a broken driver.

    Args:
        root: the folder with Linux's `proc` and `sys`.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    runtime = import_onnxruntime()
    processor = processor_name(root)
    found = devices_of(CPU, processor)
    for record in EXECUTION_PROVIDERS.values():
        if record is not CPU and is_here(runtime, record):
            found += _asked(runtime, record, processor)
    return found + list(_missing(runtime, set(hardware(root))))


def devices_of(record: ExecutionProvider, processor: str) -> list[Device]:
    """An installed provider's devices, tried in this process; one line with the reason where it gives none.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    with _probe_file() as probe:
        return list(_devices(import_onnxruntime(), record, probe, processor))


@contextmanager
def _probe_file() -> Iterator[Path]:
    """Writes the probe into a file, since providers want a path; into memory where no folder takes files."""
    try:
        folder = tempfile.mkdtemp(prefix="vit-run.")
    except OSError:
        if not hasattr(os, "memfd_create"):
            raise
        with os.fdopen(os.memfd_create("probe.onnx"), "wb") as file:
            file.write(PROBE)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
        return
    try:
        (probe := Path(folder, "probe.onnx")).write_bytes(PROBE)
        yield probe
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _asked(runtime: Any, record: ExecutionProvider, processor: str) -> list[Device]:
    """An installed provider's devices, as a process of its own finds them."""
    child = Child("vit_runtime.devices.listing_worker")
    try:
        answer = child.ask({"provider": record.name, "processor": processor, "command_line": is_command_line()})
        return [Device(**device) for device in cast("list[dict[str, Any]]", answer)]
    except ChildError as error:
        source, problem = source_of(runtime, record), f"{error}; {record.how_to_run}"
        kind = record.kinds[0]
        return [Device(provider=record.name, kind=kind, name="", source=source, works=False, problem=problem)]
    finally:
        child.close()


def _missing(runtime: Any, machine: set[tuple[str, Kind]]) -> Iterator[Device]:
    """Providers that are not installed, for hardware that is there."""
    for name, made_for in _MADE_FOR.items():
        record = EXECUTION_PROVIDERS[name]
        fitting = [kind for vendor, kind in made_for if (vendor, kind) in machine]
        if fitting and not is_here(runtime, record):
            problem = f"not installed: {record.how_to_get}"
            yield Device(provider=name, kind=fitting[0], name="", source="", works=False, problem=problem)


def _devices(runtime: Any, record: ExecutionProvider, probe: Path, processor: str) -> Iterator[Device]:
    """An installed provider's devices; one line with the reason where it gives none."""
    source = source_of(runtime, record)
    if record.plug_in is None or is_built_in(runtime, record):
        yield _tried(record, record.kinds[0], processor if record is CPU else "", source, probe)
        return
    try:
        plugged = plugged_devices(runtime, record, record.plug_in)
        problem = f"finds no device here; {record.how_to_run}"
    except VitEdgeError as error:
        plugged, problem = [], f"{error.what}; {error.remedy}"
    for device in plugged:
        kind: Kind = device.device.type.name.lower()
        name = processor if kind == "cpu" else _name(device)
        yield _tried(record, kind, name, source, probe)
    if not plugged:
        kind = record.kinds[0]
        yield Device(provider=record.name, kind=kind, name="", source=source, works=False, problem=problem)


def _name(device: Any) -> str:
    """The device's name by OpenVINO, by Windows, or else its maker, which is all that Linux tells."""
    hardware = device.device
    return str(device.ep_metadata.get("FULL_DEVICE_NAME") or hardware.metadata.get("Description") or hardware.vendor)


def _tried(record: ExecutionProvider, kind: Kind, name: str, source: str, probe: Path) -> Device:
    named = record.named(kind)
    try:
        right = probe_is_right(open_session(probe, provider=named).session)
        problem = "" if right else "computes a product wrongly: update its driver"
    except VitEdgeError as error:
        problem = error.what
    except Exception as error:  # whatever a provider's library raises while it computes
        problem = f"cannot compute a product ({one_line(error)})"
    return Device(provider=named, kind=kind, name=name, source=source, works=not problem, problem=problem)
