"""`vit-run check`: whether answers are right here, how fast they come, and what this machine is like."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

import vit_runtime as vit
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.cache.copies import FoundCopy
from vit_runtime.devices.heat import governors, temperature, throttling
from vit_runtime.devices.machine import resident_mb, this_machine
from vit_runtime.devices.session import Kept

Run = Callable[..., Any]


# The command.


def test_check_says_what_is_right_how_fast_and_on_what(vit_run: Run, tiny_artifact: Path):
    result = vit_run("check", tiny_artifact, "--threads", 1)
    assert result.exit_code == 0
    *_, last = result.stdout.splitlines()
    assert last.split()[:3] == ["result", "PASS:", "this"]
    for words in ("  cores", "versions", "file", "logits", "embedding", "pixels", "provider", "  latency"):
        assert f"\n{words} " in result.stdout
    assert f"onnxruntime {onnxruntime.__version__}" in result.stdout
    assert f"numpy {version('numpy')}" in result.stdout
    assert "CPUExecutionProvider, 1 thread" in result.stdout


def test_a_report_needs_no_editing(vit_run: Run, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    report = tmp_path / "pi5.json"
    monkeypatch.setattr("vit_runtime.loading.kept_of", kept_with_a_note(tmp_path / "cache"))
    result = vit_run("check", tiny_artifact, "--report", report, "--json")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (0, f"{report}: this machine's record")
    written, shown = json.loads(report.read_text()), json.loads(result.stdout)
    assert {**written, "note": ""} == {
        "report_version": 1,
        "date": date.today().isoformat(),
        "model": "tiny",
        "precision": "fp32",
        "target": "cpu",
        "file_sha256": stored_digest(tiny_artifact),
        **shown,
        "note": "",
    }
    assert written["note"] == "its prepared copy is not used: other users may write to ~/cache"
    again = vit_run("check", tiny_artifact, "--report", report)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == f"error: {report}: exists already; add --force to replace it\n"
    monkeypatch.setenv("HOME", "/")
    assert vit_run("check", tiny_artifact, "--report", report, "--force").exit_code == 0
    assert json.loads(report.read_text())["note"].endswith(f"other users may write to {tmp_path / 'cache'}")
    nowhere = vit_run("check", tiny_artifact, "--report", tmp_path / "missing/pi5.json")
    assert (nowhere.exit_code, len(nowhere.stderr.splitlines())) == (1, 1)


def kept_with_a_note(folder: Path) -> Callable[..., Kept]:
    note = f"its prepared copy is not used: other users may write to {folder}"
    return lambda *_, **__: Kept(copy=FoundCopy(folder=None, note=note))


def test_check_as_json_holds_everything(vit_run: Run, tiny_artifact: Path, tiny: vit.ViT):
    (line,) = map(json.loads, vit_run("check", tiny_artifact, "--json", "--threads", 1).stdout.splitlines())
    expected = vit.check(tiny)
    assert {key: line[key] for key in ("answers", "outputs", "same_pixels", "same_file", "passed", "provider")} == {
        "answers": "reference",
        "outputs": {
            answer.output: {"difference": answer.difference, "tolerance": answer.tolerance}
            for answer in expected.outputs
        },
        "same_pixels": True,
        "same_file": True,
        "passed": True,
        "provider": "CPUExecutionProvider",
    }
    assert line["assumptions"] == [vars(taken) for taken in tiny.artifact.assumptions]
    assert (line["threads"], line["note"], line["others"]) == (1, "", [])
    assert 0 < line["latency"]["p10_ms"] <= line["latency"]["median_ms"]
    assert line["versions"]["onnxruntime"] == onnxruntime.__version__
    assert line["machine"]["cores"] >= 1


@pytest.mark.skipif(
    not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"), reason="onnxruntime 1.24 tells"
)
def test_the_placement_counts_the_graphs_nodes(vit_run: Run, tiny_artifact: Path):
    (line,) = map(json.loads, vit_run("check", tiny_artifact, "--json").stdout.splitlines())
    ((provider, nodes),) = line["placement"].items()
    assert provider == "CPUExecutionProvider"
    # onnxruntime folds some nodes away before it places the others.
    assert 0.5 * (count := len(onnx.load(tiny_artifact).graph.node)) <= nodes <= count + 2


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's memory")
def test_the_memory_is_that_of_this_process():
    now, peak = resident_mb()
    assert now is not None
    assert peak is not None
    block = bytearray(os.urandom(1)) * 200_000_000
    grown, _ = resident_mb()
    del block
    assert 150 < grown - now < 250
    assert resident_mb()[1] >= grown - 10  # the kernel counts in batches


# The machine, by files as Linux shows them.

CPU = "sys/devices/system/cpu"
XEON = "vendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n\n"
OLD = "vendor_id\t: GenuineIntel\nmodel name\t: Core\nflags\t\t: fpu avx2\n\n"
PI_5 = "BogoMIPS\t: 108.00\nFeatures\t: fp asimd asimdhp asimddp\nCPU part\t: 0xd0b\n\n"
PI_4 = "model name\t: ARMv8 Processor rev 3 (v8l)\nFeatures\t: fp asimd crc32\nCPU part\t: 0xd08\n\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], Path]:
    """`root({"proc/cpuinfo": ...})` is a folder with such files, as they lie below `/` on Linux."""
    monkeypatch.setattr(sys, "platform", "linux")

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n", encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("cpuinfo", "name", "sets", "fast"),
    [
        (XEON, "Xeon", ("AVX2", "AVX-512", "AVX-512 VNNI", "AMX int8"), True),
        (OLD, "Core", ("AVX2",), False),
        (PI_5, "Cortex-A76", ("NEON", "fp16", "dot product"), True),
        (PI_4, "Cortex-A72", ("NEON",), False),
    ],
)
def test_instruction_sets_say_whether_int8_is_fast(
    cpuinfo: str, name: str, sets: tuple[str, ...], fast: bool, root: Callable[[Mapping[str, str]], Path]
):
    machine = this_machine(root({"proc/cpuinfo": cpuinfo, "proc/meminfo": "MemTotal: 4000000 kB\nMemFree: 1 kB"}))
    assert (machine.processor, machine.instruction_sets, machine.fast_int8) == (name, sets, fast)
    assert (machine.memory_mb, machine.available_mb) == (4096, None)


@pytest.mark.parametrize(
    ("file", "text"),
    [("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"), ("sys/class/dmi/id/product_name", "NUC11ATKC4")],
)
def test_the_board_has_its_makers_name(file: str, text: str, root: Callable[[Mapping[str, str]], Path]):
    assert this_machine(root({file: text})).board == text.strip("\0")


def test_a_machine_that_tells_nothing_is_no_obstacle(root: Callable[[Mapping[str, str]], Path]):
    machine = this_machine(root({}))
    assert (machine.board, machine.instruction_sets, machine.fast_int8, machine.memory_mb) == ("", (), None, None)
    assert (machine.governors, machine.temperature, machine.throttling) == ((), None, ())
    assert machine.cores >= 1


def test_a_machine_that_tells_little_is_shown_all_the_same(
    vit_run: Run, tiny_artifact: Path, root: Callable[[Mapping[str, str]], Path], monkeypatch: pytest.MonkeyPatch
):
    machine = this_machine(root({"proc/meminfo": "MemTotal: 4000000 kB"}))
    monkeypatch.setattr("vit_runtime.diagnosis.this_machine", lambda: machine)
    monkeypatch.setattr("vit_runtime.diagnosis.resident_mb", lambda: (50, None))
    shown = vit_run("check", tiny_artifact)
    assert shown.exit_code == 0
    assert re.search(r"\n  RAM +4,096 MB\n", shown.stdout)
    assert re.search(r"\n  memory +50 MB with the model loaded\n", shown.stdout)
    assert "None" not in shown.stdout


def test_the_governors_of_all_cores_count(root: Callable[[Mapping[str, str]], Path]):
    files = {f"{CPU}/cpu{cpu}/cpufreq/scaling_governor": name for cpu, name in enumerate(("schedutil", "performance"))}
    assert governors(root(files)) == ("performance", "schedutil")


def test_the_temperature_is_the_processors(root: Callable[[Mapping[str, str]], Path]):
    zones = "sys/class/thermal/thermal_zone"
    files = {
        "sys/class/hwmon/hwmon0/name": "nvme",
        "sys/class/hwmon/hwmon0/temp1_input": "90000",
        "sys/class/hwmon/hwmon1/name": "k10temp",
        "sys/class/hwmon/hwmon1/temp1_input": "61250",
        f"{zones}0/type": "acpitz",
        f"{zones}0/temp": "95000",
        f"{zones}1/type": "cpu-thermal",
        f"{zones}1/temp": "58000",
        f"{zones}2/type": "x86_pkg_temp",
        f"{zones}2/temp": "999000",  # a sensor that is not connected
    }
    assert temperature(root(files)) == 61.25


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"sys/devices/platform/soc/soc:firmware/get_throttled": "0"}, ()),
        (
            {"sys/devices/platform/soc/soc:firmware/get_throttled": "50005"},
            ("the supply's voltage is too low", "it is throttled"),
        ),
        (
            {"sys/devices/platform/soc/soc:firmware/get_throttled": "50000"},
            ("the supply's voltage is too low (since the start)", "it is throttled (since the start)"),
        ),
        (
            {
                f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "0",
                f"{CPU}/cpu1/thermal_throttle/package_throttle_count": "7",
            },
            ("too hot 7 times since the start",),
        ),
        (
            {
                "sys/class/thermal/cooling_device0/type": "Processor",
                "sys/class/thermal/cooling_device0/cur_state": "3",
                "sys/class/thermal/cooling_device1/type": "Fan",
                "sys/class/thermal/cooling_device1/cur_state": "1",
            },
            ("slowed down to cool it",),
        ),
        ({"sys/class/thermal/cooling_device0/type": "Fan", "sys/class/thermal/cooling_device0/cur_state": "1"}, ()),
    ],
)
def test_throttling_is_said_in_words(
    files: dict[str, str], told: tuple[str, ...], root: Callable[[Mapping[str, str]], Path]
):
    assert throttling(root(files)) == told
