"""Providers in packages of their own: found, loaded once, and never replaced by the CPU without a word.

Faults are real where a file can be at fault: a library that is none, a package that does not import. A plug-in that
works, refuses or lies is played by onnxruntime's own CPU provider behind a plug-in's face.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from tests.played_plug_in import CPU_PROVIDER, FULL_NAME, PlugIn, library_at

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.devices.listing import Device, list_devices
from vit_runtime.devices.options import Wanted, openvino_options

Run = Callable[..., Any]
Package = Callable[[str], None]


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


@pytest.mark.parametrize(("width", "group"), [(192, "64"), (384, "128"), (768, "128")])
def test_openvinos_own_scales_are_for_groups_that_suit_the_models_width(width: int, group: str):
    wanted = Wanted(kind="cpu", threads=2, plug_in=True, int8=True, width=width)
    (properties,) = json.loads(openvino_options(wanted)["load_config"]).values()
    assert properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == group
    float32 = json.loads(openvino_options(replace(wanted, int8=False))["load_config"])["CPU"]
    assert "DYNAMIC_QUANTIZATION_GROUP_SIZE" not in float32


def test_the_library_is_loaded_once_for_the_whole_process(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path, tmp_path: Path
):
    played = plug_in("cpu")
    for _ in range(3):
        vit.load(tiny_artifact, provider="openvino")
    assert played.registered == [(FULL_NAME, str(tmp_path / "plugin.so"))]


def test_a_kind_of_device_is_asked_for_by_name(plug_in: Callable[..., PlugIn], tiny_artifact: Path, cache: Path):
    played = plug_in("cpu", "gpu")
    model = vit.load(tiny_artifact, provider="openvino:gpu")
    assert (model.provider, model.threads) == (FULL_NAME, None)
    asked = json.loads(played.asked["load_config"])
    assert Path(asked["GPU"].pop("CACHE_DIR")).is_relative_to(cache / "engines")
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
    assert model.note == "this file is for OpenVINO (vit-edge[openvino])"
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
    played.behaves(refuses="nodes are assigned to the default CPU EP,\nbut fallback was disabled")
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
    played.behaves(lies_by=0.25)
    model = vit.load(for_openvino)
    assert model.provider == CPU_PROVIDER
    told = "openvino is installed but not used: it fails the self-test (logits is off by 0.25, at most "
    assert model.note.startswith(told)
    result = vit_run("check", for_openvino, "--provider", "openvino")  # by name it runs, and the check says what it is
    assert result.exit_code == 3
    assert "FAIL: do not trust its answers" in result.stdout
    (listed,) = [device for device in list_devices() if device.provider == "openvino"]
    assert (listed.works, listed.problem) == (False, "computes a product wrongly: update its driver")


def test_a_plug_in_that_crashes_takes_nobody_with_it(plug_in: Callable[..., PlugIn], for_openvino: Path, vit_run: Run):
    plug_in("cpu").behaves(crashes_with=int(signal.SIGSEGV))
    result = vit_run("check", for_openvino, "--provider", "cpu")
    assert result.exit_code == 0
    assert re.search(r"\n  openvino +it crashed \(SIGSEGV\)\n", result.stdout)
    tuned = vit_run("tune", for_openvino, "--seconds", 0.1, "--json")
    assert tuned.exit_code == 0
    states = {(line["provider"], line["state"], line["why"]) for line in map(json.loads, tuned.stdout.splitlines())}
    assert ("openvino", "failed", "it crashed (SIGSEGV)") in states
    assert "best: edited.onnx on cpu, " in tuned.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_a_library_that_crashes_when_it_is_loaded_is_listed(package: Package):
    package("import os, signal\nos.kill(os.getpid(), signal.SIGABRT)")
    (listed,) = [device for device in list_devices() if device.provider == "openvino"]
    assert (listed.works, listed.is_installed) == (False, True)
    assert listed.problem == "it crashed (SIGABRT); try provider='cpu'"


# `vit-run devices`.


def test_what_to_do_is_spelled_for_its_reader(plug_in: Callable[..., PlugIn], vit_run: Run):
    plug_in()
    assert "finds no device here; try --provider cpu\n" in vit_run("devices").stdout
    (listed,) = [device for device in list_devices() if device.provider == "openvino"]
    assert listed.problem == "finds no device here; try provider='cpu'"


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
