"""Providers in packages of their own: found, loaded once, and never replaced by the CPU without a word.

Faults are real where a file can be at fault: a library that is none, a package that does not import. A plug-in that
works, refuses or lies is played by onnxruntime's own CPU provider behind a plug-in's face.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.devices.listing import Device, list_devices
from vit_runtime.devices.providers import CPU_PROVIDER, EXECUTION_PROVIDERS

Edit = Callable[..., Path]
Run = Callable[..., Any]
Package = Callable[[str], None]

OPENVINO = EXECUTION_PROVIDERS["openvino"]
FULL_NAME = "OpenVINOExecutionProvider"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """`package(code)` puts a package of the OpenVINO plug-in's name where Python looks first."""
    name = OPENVINO.plug_in.module

    def write(code: str) -> None:
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path / "site")

    monkeypatch.delitem(sys.modules, name, raising=False)
    # What these tests register is played, and onnxruntime forgets it with the test.
    monkeypatch.setattr("vit_runtime.devices.plugins._REGISTERED", set())
    yield write
    sys.modules.pop(name, None)


@pytest.fixture
def for_openvino(edit_artifact: Edit) -> Path:
    """The tiny model as a file whose target is OpenVINO."""
    return edit_artifact(document=lambda document: document.update(target="openvino"))


def library_at(path: Path) -> str:
    """A package's code that gives this path as its library."""
    return f"def get_library_path():\n    return {str(path)!r}\n"


class PlugIn:
    """An OpenVINO that is registered with onnxruntime, as far as sessions are concerned."""

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds
        self.registered: list[tuple[str, str]] = []
        self.asked: dict[str, str] | None = None
        self.entries: dict[str, str] = {}
        self.refuses = ""
        """What a session says that cannot be made."""
        self.lies_by = 0.0
        """What is added to every answer."""

    def devices(self) -> list[Any]:
        def device(name: str, kind: str) -> Any:
            hardware = SimpleNamespace(type=SimpleNamespace(name=kind.upper()), vendor="Intel", metadata={})
            metadata = {} if name == CPU_PROVIDER else {"library_path": self.registered[0][1]}
            return SimpleNamespace(ep_name=name, device=hardware, ep_metadata=metadata)

        own = [device(FULL_NAME, kind) for kind in self.kinds] if self.registered else []
        return [device(CPU_PROVIDER, "cpu"), *own]


@pytest.fixture
def plug_in(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PlugIn]:
    """`plug_in("cpu", "gpu")` installs an OpenVINO that finds such devices."""

    def install(*kinds: str) -> PlugIn:
        played = PlugIn(*kinds)
        package(library_at(tmp_path / "plugin.so"))
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
                    others = {"providers": [CPU_PROVIDER], "enable_fallback": 0}
                self.inner = real(path, onnxruntime.SessionOptions(), **others)

            def run(self, outputs: list[str] | None, inputs: dict[str, Any]) -> list[FloatArray]:
                off = played.lies_by if self.plugged else 0.0
                return [values + values.dtype.type(off) for values in self.inner.run(outputs, inputs)]

            def get_providers(self) -> list[str]:
                return [FULL_NAME, CPU_PROVIDER] if self.plugged else [CPU_PROVIDER]

            def __getattr__(self, name: str) -> Any:
                return getattr(self.inner, name)

        monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "get_ep_devices", played.devices)
        monkeypatch.setattr(
            onnxruntime,
            "get_available_providers",
            lambda: [CPU_PROVIDER, *(name for name, _ in played.registered)],
        )
        monkeypatch.setattr(
            onnxruntime, "register_execution_provider_library", lambda *given: played.registered.append(given)
        )
        return played

    return install


# A plug-in that works.


def test_a_plug_in_runs_the_whole_graph_with_the_options_that_suit(plug_in: Callable[..., PlugIn], tiny_artifact: Path):
    played = plug_in("cpu")
    model = vit.load(tiny_artifact, provider="openvino", threads=1)
    assert (model.provider, model.threads, model.note) == (FULL_NAME, 1, "")
    assert json.loads(played.asked["load_config"]) == {
        "CPU": {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": "1",
            "NUM_STREAMS": "1",
        }
    }
    assert played.entries == {"session.disable_cpu_ep_fallback": "1"}


def test_the_library_is_loaded_once_for_the_whole_process(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path, tmp_path: Path
):
    played = plug_in("cpu")
    for _ in range(3):
        vit.load(tiny_artifact, provider="openvino")
    assert played.registered == [(FULL_NAME, str(tmp_path / "plugin.so"))]


def test_a_kind_of_device_is_asked_for_by_name(plug_in: Callable[..., PlugIn], tiny_artifact: Path):
    played = plug_in("cpu", "gpu")
    model = vit.load(tiny_artifact, provider="openvino:gpu")
    assert (model.provider, model.threads) == (FULL_NAME, None)
    asked = json.loads(played.asked["load_config"])
    assert asked == {"GPU": {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}}
    with pytest.raises(vit.ProviderError, match=r"^provider 'openvino': finds no NPU here; try provider='cpu'$"):
        vit.load(tiny_artifact, provider="openvino:npu")


def test_a_plug_in_without_a_device_says_so_each_time(plug_in: Callable[..., PlugIn], tiny_artifact: Path):
    """onnxruntime refuses to register a library again, also one that has no device here."""
    played = plug_in()
    for _ in range(2):
        with pytest.raises(vit.ProviderError, match=r"^provider 'openvino': finds no processor here; "):
            vit.load(tiny_artifact, provider="openvino")
    assert len(played.registered) == 1


def test_the_callers_options_go_over_ours(plug_in: Callable[..., PlugIn], tiny_artifact: Path):
    played = plug_in("cpu")
    vit.load(tiny_artifact, provider="openvino", provider_options={"load_config": "{}", "a": "b"})
    assert played.asked == {"load_config": "{}", "a": "b"}


def test_auto_takes_the_provider_that_the_file_is_for(
    plug_in: Callable[..., PlugIn], for_openvino: Path, tiny_artifact: Path
):
    plug_in("cpu")
    assert vit.load(for_openvino).provider == FULL_NAME
    assert vit.load(for_openvino).note == ""
    assert vit.load(tiny_artifact).provider == CPU_PROVIDER  # a file for the CPU


# Without the plug-in.


def test_a_file_for_a_provider_that_is_not_here_says_so(
    for_openvino: Path, monkeypatch: pytest.MonkeyPatch, picture: UInt8Array
):
    monkeypatch.setattr("vit_runtime.devices.engine.is_installed", lambda _: False)
    model = vit.load(for_openvino)
    assert model.provider == CPU_PROVIDER
    assert model.note == "this file is for OpenVINO, which vit-edge[openvino] brings"
    assert len(model.classify(picture)) == 5


def test_an_onnxruntime_without_plug_ins_is_named(
    package: Package, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
):
    package("")
    monkeypatch.delattr(onnxruntime, "register_execution_provider_library")
    found = f"^provider 'openvino': onnxruntime {onnxruntime.__version__} takes no plug-ins; "
    with pytest.raises(vit.ProviderError, match=f"{found}install onnxruntime 1.23 or newer$"):
        vit.load(tiny_artifact, provider="openvino")


# Broken ones: each case is real.

BROKEN = {
    "no library": ("", "onnxruntime-ep-openvino is broken .*get_library_path"),
    "does not import": ("raise OSError('no\\nsuch driver')", "onnxruntime-ep-openvino is broken .no such driver."),
    "library is missing": (library_at(Path("/nowhere/plugin.so")), "does not load .*plugin.so: cannot open"),
    "library is none": (library_at(Path(__file__)), "does not load .*(invalid ELF header|file too short)"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the words are those of Linux's linker")
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plug_in_is_an_error_by_name_and_a_note_by_auto(
    fault: str, package: Package, for_openvino: Path, capfd: pytest.CaptureFixture[str], picture: UInt8Array
):
    code, words = BROKEN[fault]
    package(code)
    with pytest.raises(vit.ProviderError, match=f"^provider 'openvino': .*{words}") as caught:
        vit.load(for_openvino, provider="openvino")
    assert len(str(caught.value).splitlines()) == 1
    model = vit.load(for_openvino)
    assert model.provider == CPU_PROVIDER
    assert model.note.startswith("openvino is installed but not used: onnxruntime-ep-openvino ")
    assert len(model.classify(picture)) == 5
    assert capfd.readouterr().err == ""
    (listed,) = [device for device in list_devices() if device.provider == "openvino"]
    assert (listed.works, listed.is_installed) == (False, True)
    assert "onnxruntime-ep-openvino" in listed.problem


def test_a_plug_in_that_refuses_nodes_does_not_leave_them_to_the_cpu(
    plug_in: Callable[..., PlugIn], for_openvino: Path
):
    played = plug_in("cpu")
    played.refuses = "nodes are assigned to the default CPU EP,\nbut fallback was disabled"
    words = f"cannot run {for_openvino}: nodes are assigned to the default CPU EP, but fallback was disabled"
    with pytest.raises(vit.ProviderError, match=f"^provider 'openvino': {words}; try provider='cpu'$"):
        vit.load(for_openvino, provider="openvino")
    model = vit.load(for_openvino)
    assert model.provider == CPU_PROVIDER
    assert model.note.startswith(f"openvino is installed but not used: {words}; this file is for OpenVINO")


def test_a_plug_in_that_lies_is_found_out_by_the_self_test(
    plug_in: Callable[..., PlugIn], for_openvino: Path, vit_run: Run
):
    played = plug_in("cpu")
    played.lies_by = 0.25
    model = vit.load(for_openvino)
    assert model.provider == CPU_PROVIDER
    told = "openvino is installed but not used: it fails the self-test (logits is off by 0.25, at most "
    assert model.note.startswith(told)
    result = vit_run("check", for_openvino, "--provider", "openvino")  # by name it runs, and the check says what it is
    assert result.exit_code == 3
    assert "FAIL: do not trust its answers" in result.stdout
    (listed,) = [device for device in list_devices() if device.provider == "openvino"]
    assert (listed.works, listed.problem) == (False, "computes a product wrongly: update its driver")


# `vit-run devices`.


def test_devices_are_listed_with_what_brings_them(plug_in: Callable[..., PlugIn], vit_run: Run):
    plug_in("cpu", "gpu")
    result = vit_run("devices")
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["provider", "device", "from", "state"]
    assert [line.split()[0] for line in lines if line.endswith("works")] == ["cpu", "openvino", "openvino:gpu"]


def test_devices_as_json_have_all_that_is_known(plug_in: Callable[..., PlugIn], vit_run: Run):
    plug_in("npu")
    devices = {facts["provider"]: facts for facts in map(json.loads, vit_run("devices", "--json").stdout.splitlines())}
    assert devices["cpu"]["source"] == f"onnxruntime {onnxruntime.__version__}"
    assert devices["openvino:npu"] == {
        "provider": "openvino:npu",
        "kind": "npu",
        "name": "Intel",
        "source": "onnxruntime-ep-openvino",
        "works": True,
        "problem": "",
        "installed": True,
    }


PCI = {
    "0000:00:00.0": ("0x060000", "0x8086"),  # a host bridge
    "0000:00:02.0": ("0x030000", "0x8086"),
    "0000:00:0b.0": ("0x120000", "0x8086"),
    "0000:01:00.0": ("0x030200", "0x10de"),
}


def machine(root: Path, *devices: str, processor: str = "GenuineIntel") -> Path:
    """Linux's files of a machine with these PCI devices."""
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {processor}\n\n", encoding="utf-8")
    for device in devices:
        (folder := root / "sys/bus/pci/devices" / device).mkdir(parents=True)
        for name, text in zip(("class", "vendor"), PCI[device], strict=True):
            (folder / name).write_text(f"{text}\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("devices", "processor", "missing"),
    [
        (("0000:00:00.0",), "GenuineIntel", {"openvino": "cpu"}),
        (("0000:00:00.0",), "AuthenticAMD", {}),
        (("0000:00:02.0",), "AuthenticAMD", {"openvino": "gpu"}),
        (("0000:00:0b.0",), "AuthenticAMD", {"openvino": "npu"}),
        (("0000:01:00.0",), "AuthenticAMD", {"cuda": "gpu"}),
        ((), "", {}),
    ],
)
def test_what_the_machine_has_and_nothing_uses_is_worth_a_line(
    devices: tuple[str, ...],
    processor: str,
    missing: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("vit_runtime.devices.engine.is_installed", lambda _: False)
    listed: list[Device] = list_devices(machine(tmp_path / "root", *devices, processor=processor))
    assert {device.provider: device.kind for device in listed if not device.is_installed} == missing
    assert all(device.problem.startswith("not installed: install vit-edge[") for device in listed if not device.works)
