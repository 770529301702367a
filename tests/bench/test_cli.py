"""The command line of `vit-bench`: what it writes and prints, one line for bad input, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tests.tiny import TINY
from typer.testing import Result

from vit_bench.documents import read_results, write_results
from vit_bench.errors import ResultsError
from vit_bench.report.pages import BEGIN, END
from vit_export import ExportRequest, export
from vit_export.read.torchvision_state import random_state

from .made_results import RIGHT, SPEEDS, accuracy, latency, results

Run = Callable[..., Result]
HIDING = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        workstation = {"torch", "torchvision", "onnx", "safetensors", "huggingface_hub", "matplotlib"}
        return None if name.partition(".")[0] in workstation else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
"""A sitecustomize that makes an interpreter, and all that it starts, lack the workstation's packages."""


FAIL_WITHOUT_TIME = """
import json, os
load = json.load

def read(file):
    document = load(file)
    return document if document.get("seconds", 1) else os._exit(9)

json.load = read
"""
"""A sitecustomize that ends each process which has no time to measure, as those of the footprint have none."""


@pytest.fixture
def labelled(photos: list[Path], tmp_path: Path) -> Path:
    """A folder with a table; only in it are the photos' classes."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    for photo in photos:
        (folder / photo.name).write_bytes(photo.read_bytes())
    lines = [f"{photo.name},{number % 7}" for number, photo in enumerate(photos)]
    (folder / "labels.csv").write_text("file,class\n" + "\n".join(lines), encoding="utf-8")
    return folder


def test_latency_writes_results_and_prints_a_table(vit_bench_cli: Run, tiny_artifact: Path, tiny_int8: Path, tmp_path):
    output = tmp_path / "results.json"
    options = ("--against", "none", "--seconds", 0.2, "--rounds", 2, "--device", "a test", "-o", output)
    done = vit_bench_cli("latency", tiny_artifact, tiny_int8, *options)
    assert done.exit_code == 0, done.stderr
    results = read_results(output)
    (latency,) = results.latency
    assert results.card.device == "a test"
    assert latency.reference == "vit-edge fp32"
    assert latency.contenders[1].timings[0].speedup.pairs == 2
    for text in ("a test", "vit-edge fp32", "vit-edge int8 dynamic", "mean little"):
        assert text in done.stdout
    assert done.stderr.splitlines()[-1] == str(output)


def test_the_results_are_called_by_command_and_date(
    vit_bench_cli: Run, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    done = vit_bench_cli("footprint", tiny_artifact, "--against", "none", "--rounds", 1)
    assert done.exit_code == 0, done.stderr
    (written,) = tmp_path.iterdir()
    assert re.fullmatch(r"vit-bench-footprint-\d{8}-\d{6}\.json", written.name)
    footprint, prepared = read_results(written).footprint[0].contenders
    assert footprint.model_bytes == tiny_artifact.stat().st_size < prepared.model_bytes
    assert footprint.peak_bytes.median > tiny_artifact.stat().st_size
    assert footprint.installed_packages > 3


def test_accuracy_reads_the_table(vit_bench_cli: Run, tiny_artifact: Path, labelled: Path, tmp_path: Path):
    output = tmp_path / "results.json"
    done = vit_bench_cli("accuracy", tiny_artifact, labelled, "--against", "none", "-o", output)
    assert done.exit_code == 0, done.stderr
    (accuracy,) = read_results(output).accuracy
    assert accuracy.pictures == 12
    assert accuracy.labels == "table of 12 photos"


def test_all_measures_everything_in_one_file(
    vit_bench_cli: Run, tiny_artifact: Path, labelled: Path, photos: list[Path], tmp_path: Path
):
    output = tmp_path / "results.json"
    options = ("--against", "none", "--seconds", 0.2, "--rounds", 1, "--photo", photos[0], "-o", output)
    done = vit_bench_cli("all", tiny_artifact, "--photos", labelled, *options)
    assert done.exit_code == 0, done.stderr
    results = read_results(output)
    assert [len(part) for part in (results.latency, results.accuracy, results.footprint, results.limit)] == [1] * 4
    assert results.latency[0].photo.startswith("80x60 PNG")


def test_a_part_that_cannot_be_measured_does_not_cost_the_others(
    vit_bench_cli: Run, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sitecustomize.py").write_text(FAIL_WITHOUT_TIME, encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    output = tmp_path / "results.json"
    done = vit_bench_cli("all", tiny_artifact, "--against", "none", "--seconds", 0.2, "--rounds", 1, "-o", output)
    assert done.exit_code == 0, done.stderr
    results = read_results(output)
    assert [len(part) for part in (results.latency, results.footprint, results.limit)] == [1, 0, 1]
    reason = "vit-edge fp32 failed in round 1: exit status 9"
    assert f"left out: nothing was measured: {reason}" in done.stderr.splitlines()


def test_a_device_measures_without_the_workstations_packages(
    tiny_artifact: Path, labelled: Path, photos: list[Path], tmp_path: Path
):
    (tmp_path / "sitecustomize.py").write_text(HIDING, encoding="utf-8")
    output = tmp_path / "results.json"
    code = "from vit_bench.cli import main; main()"
    options = ["--seconds", "0.2", "--rounds", "1", "--photo", photos[0], "--photos", labelled, "-o", output]
    done = subprocess.run(
        [sys.executable, "-c", code, "all", tiny_artifact, *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    results = read_results(output)
    assert len(results.latency) == len(results.accuracy) == len(results.footprint) == 1
    assert results.limit == ()
    assert "left out: onnx: not installed" in done.stderr
    assert results.latency[0].reference == "vit-edge fp32"


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--seconds", "0"], 2, "--seconds: 0 is no time to measure; give some seconds, 20 for example"),
        (["--seconds", "-3"], 2, "--seconds: -3 is no time to measure; give some seconds, 20 for example"),
        (["--seconds", "nan"], 2, "--seconds: nan is no time to measure; give some seconds, 20 for example"),
        (["--against", "tvm"], 2, "--against: unknown 'tvm'; known are torch, torch-compile, torch-bf16, torch-int8, "),
        (["--photo", "MODEL"], 1, "not an image in a format that "),
        (["--photo", "missing.jpg"], 1, "missing.jpg: no such file"),
        (["-o", "missing/results.json"], 1, "missing/results.json: cannot be written (missing is no folder)"),
        (["-o", "."], 1, ".: is a folder; choose another --output"),
        (["--checkpoint", "missing.pth", "--against", "torch"], 1, "--checkpoint: missing.pth"),
        (["MODEL"], 2, "MODEL.onnx: tiny.onnx is there twice"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    arguments: list[str],
    status: int,
    line: str,
    vit_bench_cli: Run,
    tiny_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    given = [str(tiny_artifact) if argument == "MODEL" else argument for argument in arguments]
    against = [] if "--against" in given else ["--against", "none"]
    done = vit_bench_cli("latency", tiny_artifact, *against, *given)
    assert done.exit_code == status
    assert line in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_limit_of_several_models_needs_no_reference(vit_bench_cli: Run, tiny_artifact: Path, tmp_path: Path):
    save_file(random_state(replace(TINY, layers=1), seed=2), tmp_path / "flat.safetensors")
    flat = export(ExportRequest(model=str(tmp_path / "flat.safetensors"), output=tmp_path / "flat.onnx")).path
    output = tmp_path / "results.json"
    done = vit_bench_cli("limit", tiny_artifact, flat, "--batch", 3, "--seconds", 0.1, "--rounds", 1, "-o", output)
    assert done.exit_code == 0, done.stderr
    (limits,) = read_results(output).limit
    assert limits.model == "tiny, flat"
    assert [(limit.contender.name, limit.batch) for limit in limits.artifacts] == [
        ("vit-edge tiny fp32", 3),
        ("vit-edge flat fp32", 3),
    ]


def test_two_models_cannot_have_one_reference(vit_bench_cli: Run, tiny_artifact: Path, tmp_path: Path):
    other = export(ExportRequest(model="vit_b_32", weights="random", output=tmp_path / "other.onnx")).path
    done = vit_bench_cli("latency", tiny_artifact, other, "--against", "torch")
    assert done.exit_code == 2
    assert "tiny.onnx and other.onnx are of different models, and the reference can be only one" in done.stderr


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ((), "no photos"),
        (("photo.png",), "photos without labels"),
        (("cats/photo.png", "dogs/photo.png"), "2 of 2 class names match none of the model's 7 ('cats')"),
    ],
)
def test_photos_without_right_answers_are_refused(
    files: tuple[str, ...], line: str, vit_bench_cli: Run, tiny_artifact: Path, photos: list[Path], tmp_path: Path
):
    folder = tmp_path / "folder"
    folder.mkdir()
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(photos[0].read_bytes())
    output = tmp_path / "results.json"
    done = vit_bench_cli("accuracy", tiny_artifact, folder, "--against", "none", "-o", output)
    assert done.exit_code == 1
    assert f"error: {folder}: {line}" in done.stderr
    assert not output.exists()


def test_more_threads_than_processors_are_warned_of(vit_bench_cli: Run, tiny_artifact: Path, tmp_path: Path):
    output = tmp_path / "results.json"
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = 4 * processors
    options = ("--against", "none", "--rounds", 1, "--threads", threads, "-o", output)
    done = vit_bench_cli("footprint", tiny_artifact, *options)
    assert done.exit_code == 0
    warning = f"{threads} threads on {processors} processors: they wait for each other"
    assert f"warning: {warning}" in done.stderr
    assert warning in read_results(output).warnings


def test_ctrl_c_keeps_what_was_measured(
    interruptible_popen: Callable[..., subprocess.Popen[str]], tiny_artifact: Path, photos: list[Path], tmp_path: Path
):
    output = tmp_path / "results.json"
    code = "from vit_bench.cli import main; main()"
    options = ["--against", "none", "--rounds", "500", "--seconds", "100", "--photo", photos[0], "-o", output]
    command = [sys.executable, "-c", code, "latency", tiny_artifact, *options]
    with interruptible_popen(command) as process:
        seen = ""
        while "round 3" not in seen:
            seen = process.stderr.readline()
            assert seen, "it ended early"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: what was measured until then was kept" in stderr
    assert "Traceback" not in stderr
    assert "vit-edge fp32" in stdout
    (latency,) = read_results(output).latency
    assert latency.interrupted
    assert len(latency.contenders[0].timings[0].rounds) >= 2


def test_ctrl_c_before_the_first_result_writes_nothing(
    interruptible_popen: Callable[..., subprocess.Popen[str]], tiny_artifact: Path, tmp_path: Path
):
    output = tmp_path / "results.json"
    code = "from vit_bench.cli import main; main()"
    options = ["--against", "none", "--rounds", "1", "--seconds", "100", "-o", output]
    with interruptible_popen([sys.executable, "-c", code, "latency", tiny_artifact, *options]) as process:
        while "round 1" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "interrupted"
    assert not output.exists()


def test_results_that_are_none_are_refused(tmp_path: Path, tiny_artifact: Path):
    broken = tmp_path / "broken.json"
    for text, problem in (
        ("{", "no JSON"),
        ("[]", "results of version None"),
        ('{"format_version": 99}', "results of version 99, and this vit-bench reads version 2"),
        (json.dumps({"format_version": 2}), "has no 'vit_edge'"),
    ):
        broken.write_text(text, encoding="utf-8")
        with pytest.raises(ResultsError, match=problem):
            read_results(broken)
    with pytest.raises(ResultsError, match="cannot be read"):
        read_results(tmp_path / "missing.json")
    with pytest.raises(ResultsError, match="no JSON"):
        read_results(tiny_artifact)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results file, in the folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "pi.json", results(latency(SPEEDS), accuracy(RIGHT), device="Mini PC"))
    return tmp_path / "pi.json"


def test_report_prints_markdown_and_draws(vit_bench_cli: Run, measured: Path):
    done = vit_bench_cli("report", measured, "--plots", "plots")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("### Mini PC\n")
    assert "](plots/bench.bars.mini-pc.png)" in done.stdout
    assert done.stderr.splitlines() == ["plots/bench.pareto.mini-pc.png", "plots/bench.bars.mini-pc.png"]
    assert all(Path(line).is_file() for line in done.stderr.splitlines())


def test_report_fills_a_readme_and_checks_it(vit_bench_cli: Run, measured: Path):
    readme = Path("README.md")
    readme.write_text(f"# Title\n{BEGIN}\n{END}\n", encoding="utf-8")
    small = Path("small.md")
    small.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    arguments = ("report", measured, "--page", readme, "--summary", small)
    stale = vit_bench_cli(*arguments, "--check")
    assert stale.exit_code == 3
    assert stale.stderr.startswith("error: README.md: line 3 is ")
    assert sorted(path.name for path in Path().iterdir()) == ["README.md", "pi.json", "small.md"]
    assert vit_bench_cli(*arguments).exit_code == 0
    assert "### Mini PC" in readme.read_text(encoding="utf-8")
    assert "** on Mini PC" in small.read_text(encoding="utf-8")
    fresh = vit_bench_cli(*arguments, "--check")
    assert (fresh.exit_code, fresh.stdout, fresh.stderr) == (0, "", "")
    small.write_text(small.read_text(encoding="utf-8").replace("times as fast", "times as slow"), encoding="utf-8")
    stale = vit_bench_cli(*arguments, "--check")
    assert (stale.exit_code, stale.stderr[:17]) == (3, "error: small.md: ")


def test_report_says_what_it_cannot_use(vit_bench_cli: Run, measured: Path):
    for arguments, status, line in (
        (("--check",), 2, "error: --check: compares with a page; name it: --page docs/benchmarks.md"),
        (("missing.json",), 1, "error: missing.json: cannot be read (No such file or directory)"),
        (("--page", "missing.md"), 1, "error: missing.md: cannot be read (No such file or directory)"),
    ):
        done = vit_bench_cli("report", measured, *arguments)
        assert (done.exit_code, done.stdout) == (status, "")
        assert done.stderr.splitlines()[-1].startswith(line)
