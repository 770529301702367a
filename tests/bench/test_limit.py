"""Limits in rounds: which process is told, one that fails, Ctrl-C, and one real run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vit_bench.contenders.entrants import artifacts
from vit_bench.errors import ContenderError
from vit_bench.measure.limit import LimitTask, measure_limits
from vit_bench.measure.rounds import Settings
from vit_bench.results import Limit, Limits
from vit_export.progress import Silent
from vit_runtime.errors import MissingDependencyError, VitEdgeError

from .made_results import limit

Fake = Callable[[str, int], float]


@pytest.fixture
def run(tiny_artifact: Path, tiny_int8: Path):
    """Measures two artifacts; `fake(name, turn)` gives the seconds of a pass, or raises."""

    def measure(rounds: int, fake: Fake) -> tuple[Limits, list[str]]:
        turns: list[str] = []

        def run_once(name: str, task: LimitTask) -> Limit:
            assert (task.threads, task.batch, task.seconds) == (2, 4, pytest.approx(8 / rounds))
            (Path(task.folder) / "profile.json").touch()
            turns.append(name)
            taken = fake(name, turns.count(name))
            return replace(limit().artifacts[0], contender=task.contender, pass_seconds=taken)

        entrants, _ = artifacts([tiny_artifact, tiny_int8], "cpu")
        settings = Settings(threads=2, batch=4, seconds=8, rounds=rounds)
        found = measure_limits(entrants, settings, Silent(), run_once=run_once)
        return found, turns

    return measure


FP32, INT8 = "vit-edge fp32", "vit-edge int8 dynamic"


def passes(found: Limits) -> dict[str, float]:
    return {limit.contender.name: limit.pass_seconds for limit in found.artifacts}


def test_the_process_with_the_median_pass_is_told(run):
    seconds = {FP32: [0.9, 0.3, 0.5], INT8: [0.2, 0.1, 0.7]}
    found, turns = run(3, lambda name, turn: seconds[name][turn - 1])
    assert passes(found) == {FP32: 0.5, INT8: 0.2}
    assert turns == [FP32, INT8, INT8, FP32, FP32, INT8]
    assert found.model == "tiny"
    assert not found.interrupted


def test_of_two_the_quicker(run):
    found, _ = run(2, lambda _, turn: float(turn))
    assert passes(found) == {FP32: 1.0, INT8: 1.0}


def test_one_that_fails_is_reported_and_the_other_goes_on(run):
    def fake(name: str, turn: int) -> float:
        if name == INT8 and turn == 1:
            raise ContenderError(name, "was ended by SIGKILL")
        return 0.1

    found, turns = run(2, fake)
    assert passes(found) == {FP32: 0.1}
    assert [(absent.name, absent.reason, absent.crashed) for absent in found.absent] == [
        (INT8, "failed in round 1: was ended by SIGKILL", True)
    ]
    assert turns == [FP32, INT8, FP32]


def test_ctrl_c_keeps_what_was_measured_and_leaves_no_profile(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fake(_: str, turn: int) -> float:
        if turn == 2:
            raise KeyboardInterrupt
        return 0.1

    found, _ = run(5, fake)
    assert found.interrupted
    assert passes(found) == {FP32: 0.1, INT8: 0.1}
    assert list(tmp_path.iterdir()) == []


def test_where_all_fail_the_reason_is_told(run):
    def fake(name: str, _: int) -> float:
        raise ContenderError(name, "is damaged")

    with pytest.raises(VitEdgeError, match=f"nothing was measured: {FP32} failed in round 1: is damaged"):
        run(2, fake)


def test_without_onnx_nothing_is_started(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError):
        run(1, lambda *_: 0.1)


def test_a_real_artifact(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    beside = sorted(tiny_artifact.parent.iterdir())
    entrants, _ = artifacts([tiny_artifact], "cpu")
    found = measure_limits(entrants, Settings(threads=1, batch=2, seconds=0, rounds=1), Silent())
    (measured,) = found.artifacts
    assert isinstance(measured, Limit)
    assert (measured.contender.name, measured.batch, measured.threads) == (FP32, 2, 1)
    assert sum(kernel.share for kernel in measured.kernels) == pytest.approx(1)
    assert list(tmp_path.iterdir()) == []
    assert sorted(tiny_artifact.parent.iterdir()) == beside
