"""Footprints in rounds: what is made of the starts, and who is started again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vit_bench.contenders.peers import Peers
from vit_bench.contenders.process import Finished
from vit_bench.contenders.task import Measured, Task
from vit_bench.errors import ContenderError
from vit_bench.measure.footprint import measure_footprint
from vit_bench.measure.rounds import Settings
from vit_bench.results import Absent, Footprints
from vit_export.progress import Silent

from .made_results import Each, made_up

ROUNDS = 5
NO_ONNX = Absent(name="onnx", reason="not installed", crashed=False)


def run(names: list[str], fake: Callable[[str, int], tuple[float, int]]) -> tuple[Footprints, list[str]]:
    """Measures made-up contenders: `fake(name, start)` gives the first answer's seconds and the peak, or raises."""
    starts: list[str] = []

    def answers(name: str, task: Task, each: Each | None) -> Finished:
        assert (task.photos, task.threads, task.batch, task.seconds, each) == (("photo.jpg",), 2, 1, 0, None)
        starts.append(name)
        seconds, peak = fake(name, starts.count(name))
        measured = Measured(peak_bytes=peak, version="engine 1", detail="")
        return Finished(first_answer_seconds=seconds, measured=measured)

    entrants = [made_up(name, answers) for name in names]
    settings = Settings(threads=2, rounds=ROUNDS)
    return measure_footprint(entrants, Peers(absent=(NO_ONNX,)), Path("photo.jpg"), settings, Silent()), starts


def test_the_first_start_counts_for_nobody_and_ratios_are_the_references_over_each():
    def fake(name: str, start: int) -> tuple[float, int]:
        first = 100.0 if start == 1 else 1.0
        return (first * start * (0.5 if name == "ours" else 2.0), 200 if name == "ours" else 600)

    measured, starts = run(["ours", "torch"], fake)

    # The first start, and then rounds of which each begins with the next one.
    assert starts == ["ours", "torch", *(["ours", "torch", "torch", "ours"] * ROUNDS)[: 2 * ROUNDS]]
    assert (measured.reference, measured.threads, measured.absent) == ("torch", 2, (NO_ONNX,))
    ours, torch = measured.contenders
    assert (torch.first_answer_speedup, torch.peak_ratio) == (None, None)
    assert ours.first_answer_speedup
    assert ours.peak_ratio
    assert (ours.first_answer_speedup.value, ours.first_answer_speedup.pairs) == (pytest.approx(4), ROUNDS)
    assert ours.peak_ratio.value == pytest.approx(3)
    assert (ours.first_answer.median, ours.first_answer.samples) == (pytest.approx(0.5 * 4), ROUNDS)
    assert (ours.peak_bytes.median, torch.peak_bytes.median) == (200, 600)


def test_who_fails_at_the_first_start_is_not_started_again():
    def fake(name: str, _: int) -> tuple[float, int]:
        if name == "broken":
            raise ContenderError(name, "no memory")
        return 1.0, 100

    measured, starts = run(["broken", "good"], fake)

    assert starts.count("broken") == 1
    assert [entry.contender.name for entry in measured.contenders] == ["good"]
    assert measured.absent == (NO_ONNX, Absent(name="broken", reason="failed in round 1: no memory", crashed=True))


def test_ctrl_c_at_the_first_start_ends_the_command():
    def fake(name: str, _: int) -> tuple[float, int]:
        if name == "b":
            raise KeyboardInterrupt
        return 1.0, 100

    with pytest.raises(KeyboardInterrupt):
        run(["a", "b"], fake)
