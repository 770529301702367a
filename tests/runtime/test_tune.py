"""`vit-run tune`: measures what this machine offers, and keeps the best."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.played_plug_in import PlugIn

import vit_runtime as vit
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.cache.folder import CACHE_VARIABLE

Run = Callable[..., Any]
Edit = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("own_cache")


# Measuring.


def test_files_and_settings_are_compared_and_the_best_is_kept(
    vit_run: Run, tiny_artifact: Path, dynamic_artifact: Path, own_cache: Path, photo: Path
):
    result = vit_run("tune", tiny_artifact, dynamic_artifact, "--seconds", 0.2)
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == [
        *["file", "setting", "ms", "fastest", "tenth", "times", "memory", "agreement", "with", "fp32", "state"]
    ]
    assert {line.split()[0] for line in lines} == {tiny_artifact.name, dynamic_artifact.name}
    assert "measured" in lines[0]
    assert " 1.00 " in lines[0]
    assert any("the same" in line for line in lines if tiny_artifact.name in line)
    assert all("cosine 0.99" in line for line in lines if dynamic_artifact.name in line)
    assert "best: " in result.stderr
    kept = sorted(own_cache.rglob("*.json"))
    digests = sorted(stored_digest(path) for path in (tiny_artifact, dynamic_artifact))
    assert [path.name for path in kept] == [f"{digest[:32]}.json" for digest in digests]

    told = vit_run("classify", tiny_artifact, photo, "--top", 1)
    assert "as vit-run tune found fastest on " in told.stderr
    for options in (["--no-profile"], ["--threads", "1"], ["--provider", "cpu"]):
        assert "tune" not in vit_run("classify", tiny_artifact, photo, *options).stderr


def test_as_json_each_line_is_a_setting(vit_run: Run, tiny_artifact: Path, own_cache: Path):
    lines = [
        json.loads(line) for line in vit_run("tune", tiny_artifact, "--seconds", 0.1, "--json").stdout.splitlines()
    ]
    (best,) = [line for line in lines if line["best"]]
    assert best["file"] == str(tiny_artifact)
    assert (best["provider"], best["state"], best["runs"], best["batch"]) == ("cpu", "measured", 1, 1)
    assert 0 < best["latency"]["p10_ms"] <= best["latency"]["median_ms"]
    (kept,) = own_cache.rglob("*.json")
    assert json.loads(kept.read_text())["milliseconds"] == best["latency"]["median_ms"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell its load")
def test_a_busy_machine_is_warned_of(vit_run: Run, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    for load, warned in ((0.0, False), (0.9 * os.cpu_count(), True)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, load, load))
        told = vit_run("tune", tiny_artifact, "--seconds", 0.1).stderr
        assert ("warning: 90% of the cores were busy in the last minute" in told) == warned


def test_for_throughput_several_runs_at_a_time_are_tried(
    vit_run: Run, tiny_artifact: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vit_runtime.tuning.trials.default_threads", lambda: 2)
    result = vit_run("tune", tiny_artifact, "--seconds", 0.1, "--for", "throughput", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(line["threads"], line["runs"], line["batch"]) for line in lines} == {(2, 1, 1), (2, 1, 8), (1, 2, 1)}
    assert "best: tiny.onnx on cpu, " in result.stderr
    assert not own_cache.exists()  # nothing reads it


def test_only_the_provider_that_is_named_is_tried(plug_in: Callable[..., PlugIn], vit_run: Run, tiny_artifact: Path):
    plug_in("cpu")
    result = vit_run("tune", tiny_artifact, "--seconds", 0.1, "--json", "--provider", "openvino")
    assert {json.loads(line)["provider"] for line in result.stdout.splitlines()} == {"openvino"}


def test_a_provider_that_cannot_be_tried_is_one_line(
    plug_in: Callable[..., PlugIn], vit_run: Run, tiny_artifact: Path, dynamic_artifact: Path
):
    def told(path: Path, provider: str) -> str:
        result = vit_run("tune", path, "--provider", provider)
        assert (result.exit_code, result.stdout) == (1, "")
        return result.stderr.splitlines()[-1]

    assert told(tiny_artifact, "webgpu") == "error: provider 'webgpu': is not installed; install vit-edge[webgpu]"
    plug_in("cpu")
    words = "does not know these files' operators, or has no such device here"
    assert told(dynamic_artifact, "openvino") == f"error: provider 'openvino': {words}"
    assert told(tiny_artifact, "openvino:gpu") == f"error: provider 'openvino:gpu': {words}"


def test_a_copy_of_a_file_is_tried_once(vit_run: Run, tiny_artifact: Path, tmp_path: Path):
    (copy := tmp_path / "copy.onnx").write_bytes(tiny_artifact.read_bytes())
    result = vit_run("tune", tiny_artifact, copy, "--seconds", 0.1, "--json")
    assert {json.loads(line)["file"] for line in result.stdout.splitlines()} == {str(tiny_artifact)}
    assert f"{copy} is the same as {tiny_artifact}: tried once" in result.stderr


@pytest.mark.parametrize(
    ("behaviour", "state", "why"),
    [
        (
            {"lies_by": 0.25, "spares_products": True},
            "wrong",
            "it fails the self-test (logits is off by 0.25, at most 0.001 is right); ",
        ),
        ({"crashes_with": int(signal.SIGSEGV)}, "failed", "it crashed (SIGSEGV)"),
    ],
)
def test_a_provider_that_lies_or_crashes_is_out(
    behaviour: dict[str, Any], state: str, why: str, plug_in: Callable[..., PlugIn], vit_run: Run, for_openvino: Path
):
    plug_in("cpu").behaves(**behaviour)
    result = vit_run("tune", for_openvino, "--seconds", 0.1, "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    of_openvino = [line for line in lines if line["provider"] == "openvino"]
    assert {(line["state"], line["latency"]) for line in of_openvino} == {(state, None)}
    assert all(line["why"].startswith(why) for line in of_openvino)
    assert [line["provider"] for line in lines if line["best"]] == ["cpu"]


def test_a_provider_that_refuses_everything_is_not_tried(
    plug_in: Callable[..., PlugIn], vit_run: Run, for_openvino: Path
):
    plug_in("cpu").behaves(refuses="nodes left")
    result = vit_run("tune", for_openvino, "--seconds", 0.1, "--json")
    assert {json.loads(line)["provider"] for line in result.stdout.splitlines()} == {"cpu"}
    assert "openvino is not tried: cannot run " in result.stderr
    assert "nodes left" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("after", ["trying", "measuring"])
def test_interrupted_it_keeps_whole_rounds_and_no_half_profile(
    after: str, tiny_artifact: Path, own_cache: Path, interruptible_popen: Callable[..., subprocess.Popen[str]]
):
    program = "from vit_runtime.cli import main; main()"
    command = [sys.executable, "-c", program, "tune", str(tiny_artifact), "--seconds", "60"]
    with interruptible_popen(command) as process:
        for line in process.stderr:
            if line.startswith(after):
                break
        if after == "measuring":
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(4)
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.startswith("file ")
    kept = [path.name for path in own_cache.rglob("*") if path.is_file()]
    if after == "trying":
        assert "interrupted: nothing is kept" in told
        assert kept == []
    else:
        assert re.search("interrupted: this is what [0-9]+ whole rounds? showed", told)
        assert kept == [f"{stored_digest(tiny_artifact)[:32]}.json"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_no_time_is_refused(seconds: str, vit_run: Run, tiny_artifact: Path):
    result = vit_run("tune", tiny_artifact, "--seconds", seconds)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "give a number above 0" in result.stderr


def test_files_of_different_models_are_refused(vit_run: Run, tiny_artifact: Path, edit_artifact: Edit):
    other = edit_artifact(document=lambda document: document["source"].update(sha256="0" * 64))
    result = vit_run("tune", tiny_artifact, other)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        f"error: {other}: is of another model than {tiny_artifact}; tune files of one model at a time"
    )


def test_a_cache_folder_that_takes_no_files_is_said_and_the_result_printed(
    vit_run: Run, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (file := tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(file / "cache"))
    result = vit_run("tune", tiny_artifact, "--seconds", 0.1)
    assert result.exit_code == 0
    assert "this is not kept (cannot be written (Not a directory)): give --provider cpu --threads " in result.stderr
    assert vit.load(tiny_artifact).note == ""
