"""Latency in rounds: what is made of the samples, a contender that fails midway, Ctrl-C, and one real run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vit_bench.contenders.entrants import artifacts
from vit_bench.contenders.peers import Peers, make_peers
from vit_bench.contenders.process import Finished
from vit_bench.contenders.source import Source
from vit_bench.contenders.task import Measured, Task
from vit_bench.errors import ContenderError
from vit_bench.measure.latency import measure_latency
from vit_bench.measure.rounds import Settings
from vit_bench.results import Absent, Latency
from vit_export.progress import Silent
from vit_runtime.errors import ImageError, VitEdgeError

from .made_results import Each, made_up

NO_PEERS = Peers()
Fake = Callable[[str, int], Finished]


class Turns(Silent):
    """Counts who had how many turns, and keeps what the user is told."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def finished(model: list[float], photo: list[float], scores: tuple[float, ...] = (1.0, 0.0)) -> Finished:
    measured = Measured(
        model_seconds=tuple(model),
        photo_seconds=tuple(photo),
        scores=scores,
        peak_bytes=1,
        version="engine 1",
        detail="",
    )
    return Finished(first_answer_seconds=1.0, measured=measured)


@pytest.fixture
def run(photos: list[Path]):
    """Measures made-up contenders: `fake(name, turn)` gives each turn's samples, or raises."""

    def measure(names: list[str], rounds: int, fake: Fake, peers: Peers = NO_PEERS) -> tuple[Latency, Turns]:
        turns = Turns()

        def answers(name: str, task: Task, each: Each | None) -> Finished:
            assert (task.photos, task.threads, task.batch, each) == ((str(photos[0]),), 1, 1, None)
            assert task.seconds == pytest.approx(8 / rounds)
            turns.order.append(name)
            return fake(name, turns.order.count(name))

        entrants = [made_up(name, answers) for name in names]
        settings = Settings(threads=1, seconds=8, rounds=rounds)
        return measure_latency(entrants, peers, photos[0], settings, turns), turns

    return measure


def test_rounds_alternate_and_ratios_are_taken_round_by_round(run):
    """The machine is half as fast from the third round on: that takes no part in the ratio."""
    slowdown = {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0, 5: 2.0}

    def fake(name: str, turn: int) -> Finished:
        base = slowdown[turn] * (0.1 if name == "ours" else 0.3)
        return finished([base, base, 9 * base], [2 * base, 2 * base])

    measured, turns = run(["torch", "ours"], 5, fake)

    assert turns.order == [*("torch", "ours", "ours", "torch") * 2, "torch", "ours"]
    assert measured.reference == "torch"
    torch, ours = measured.contenders
    assert torch.timings[0].speedup is None
    model, photo = ours.timings
    assert (model.kind, photo.kind) == ("model", "photo")
    for speedup in (model.speedup, photo.speedup):
        assert (speedup.value, speedup.low, speedup.high, speedup.pairs) == pytest.approx((3, 3, 3, 5))
    assert [round_.median for round_ in model.rounds] == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.2])
    assert model.all_rounds.samples == 15
    assert model.all_rounds.median == pytest.approx(0.2)
    assert measured.warnings == ()


def test_the_first_contender_is_the_reference_without_pytorch(run):
    measured, _ = run(["a", "b"], 5, lambda name, _: finished([{"a": 0.2, "b": 0.1}[name]], [0.3]))
    assert measured.reference == "a"
    assert measured.contenders[1].timings[0].speedup.value == pytest.approx(2)


def test_a_contender_that_fails_midway_is_reported_and_the_others_go_on(run):
    def fake(name: str, turn: int) -> Finished:
        if name == "b" and turn == 3:
            raise ContenderError("b", "was ended by SIGKILL")
        return finished([0.1], [0.2])

    measured, turns = run(["a", "b", "c"], 6, fake)

    assert turns.order.count("a") == turns.order.count("c") == 6
    assert turns.order.count("b") == 3
    assert measured.absent == (Absent(name="b", reason="failed in round 3: was ended by SIGKILL", crashed=True),)
    assert turns.notes == ["b failed in round 3: was ended by SIGKILL; the others go on"]
    by_name = {item.contender.name: item.timings[0] for item in measured.contenders}
    assert by_name["b"].speedup.pairs == 2
    assert by_name["c"].speedup.pairs == 6


def test_each_round_begins_with_the_next_contender(run):
    _, turns = run(["a", "b", "c"], 4, lambda *_: finished([0.1], [0.2]))
    assert turns.order == [*"abc", *"bca", *"cab", *"abc"]


def test_where_the_reference_fails_another_takes_its_place(run):
    def fake(name: str, _: int) -> Finished:
        if name == "torch":
            raise ContenderError("torch", "no")
        return finished([0.1], [0.2])

    measured, _ = run(["a", "b", "torch"], 5, fake)
    assert measured.reference == "a"
    assert [item.contender.name for item in measured.contenders] == ["a", "b"]


def test_where_all_fail_one_line_says_why(run):
    def fake(name: str, _: int) -> Finished:
        raise ContenderError(name, "no memory")

    with pytest.raises(VitEdgeError, match=r"^nothing was measured: a failed in round 1: no memory$"):
        run(["a", "b"], 5, fake)


def test_ctrl_c_keeps_what_was_measured(run):
    def fake(name: str, turn: int) -> Finished:
        if name == "a" and turn == 4:  # the second of the fourth round
            raise KeyboardInterrupt
        return finished([0.1], [0.2])

    measured, _ = run(["a", "b"], 10, fake)

    assert measured.interrupted
    assert [len(item.timings[0].rounds) for item in measured.contenders] == [3, 4]
    assert measured.contenders[1].timings[0].speedup.pairs == 3
    assert measured.warnings == ("intervals of 3 rounds mean little: give at least 5",)


def test_ctrl_c_before_anything_was_measured_ends_the_command(run):
    def fake(_: str, __: int) -> Finished:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["a"], 5, fake)


def test_noise_is_told_and_what_it_leaves_open(run):
    noisy = [0.1, 0.3, 0.1, 0.4, 0.2, 0.1, 0.5, 0.1]

    def fake(name: str, turn: int) -> Finished:
        taken = {"a": 0.1, "b": noisy[turn - 1], "c": noisy[turn - 1] / 50, "d": 0.05}
        return finished([taken[name]], [0.2])

    measured, _ = run(["a", "b", "c", "d"], 8, fake)
    (warning,) = measured.warnings
    b, c = (item.timings[0].speedup for item in measured.contenders[1:3])
    assert b.low < 1 < b.high
    assert c.low > 1
    assert warning == (
        f"too noisy to conclude which is faster: b ({b.low:.2f} to {b.high:.2f}); "
        f"by how much: c ({c.low:.2f} to {c.high:.2f}). Close other programs, or give more --rounds"
    )


def test_other_answers_than_the_references_are_told(run):
    def fake(name: str, _: int) -> Finished:
        return finished([0.1], [0.2], (1.0, 0.0) if name == "a" else (0.0, 1.0))

    measured, _ = run(["a", "b"], 5, fake)
    assert measured.contenders[1].cosine == 0
    assert measured.warnings == ("other answers than the reference's: b",)


def test_random_weights_are_not_compared(run):
    def fake(name: str, _: int) -> Finished:
        return finished([0.1], [0.2], (1.0, 0.0) if name == "a" else (0.0, 1.0))

    measured, _ = run(["a", "b"], 5, fake, Peers(own_weights=False))
    assert measured.reference_weights == "random"
    assert measured.contenders[1].cosine is None
    assert measured.warnings == ()


def test_a_photo_that_is_none_is_refused(tiny_artifact: Path):
    entrants, _ = artifacts([tiny_artifact], "cpu")
    with pytest.raises(ImageError, match="not an image"):
        measure_latency(entrants, Peers(), tiny_artifact, Settings(threads=1), Silent())


def test_artifacts_and_pytorch_really_run(
    tiny_artifact: Path, tiny_int8: Path, tiny_checkpoint: Path, photos: list[Path], tmp_path: Path
):
    source = Source(artifact=str(tiny_artifact), folder=str(tmp_path), checkpoint=str(tiny_checkpoint), batch=2)
    peers = make_peers(["torch"], source, lambda _: None)
    entrants, _ = artifacts([tiny_artifact, tiny_int8], "cpu")
    settings = Settings(threads=1, batch=2, seconds=0.1, rounds=2)

    measured = measure_latency(entrants, peers, photos[0], settings, Silent())

    assert measured.reference == "torch"
    assert measured.reference_weights == "same"
    assert measured.photo.startswith("80x60 PNG")
    fp32, int8, torch = measured.contenders
    assert [item.contender.name for item in measured.contenders] == ["vit-edge fp32", "vit-edge int8 dynamic", "torch"]
    assert fp32.cosine == pytest.approx(1, abs=1e-9)
    assert int8.cosine == pytest.approx(1, abs=0.02)
    assert torch.contender.version.startswith("torch ")
    for item in measured.contenders:
        (timing,) = item.timings  # a batch is measured with the model alone
        assert timing.kind == "model"
        assert timing.all_rounds.samples >= 6
        assert 0 < timing.all_rounds.p10 <= timing.all_rounds.median <= timing.all_rounds.p90
