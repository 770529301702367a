"""Damaged checkpoints: one of our errors or a model, no code of theirs run, and no more memory than they have."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from .bad_checkpoints import Attack, attacks, bad_checkpoints
from .checkpoint_mutants import checkpoint_mutants
from .chunks import WARM_UP, Limits, Result, faults, in_chunks, keep, run_worker
from .good_checkpoints import Files, good_checkpoints

SOME, ALL = pytest.param(300, id="some"), pytest.param(1_200, id="all", marks=pytest.mark.slow)
PER_PROCESS = 400
"""Each process imports torch, which takes as long as to load two hundred checkpoints."""
LIMITS = Limits(
    # The files have some hundred kilobytes, those made to be large up to 50 MB; PyTorch brings buffers of its own.
    bytes=400 << 20,
    seconds=20,  # loading takes some ten milliseconds; the rest is a busy machine
    errors=(),
)

Results = Callable[[Iterable[tuple[str, Files]]], tuple[list[Result], str]]


@pytest.fixture(scope="module")
def bases() -> dict[str, Files]:
    return good_checkpoints()


@pytest.fixture
def results(bases: dict[str, Files], folder: Path) -> Results:
    """`results(checkpoints)`: what came of each, and in lines what was wrong with it."""

    def run(checkpoints: Iterable[tuple[str, Files]]) -> tuple[list[Result], str]:
        found: list[Result] = []
        wrong: list[str] = []
        warm_up = [(WARM_UP, bases["timm"])]
        for chunk in in_chunks(checkpoints, PER_PROCESS, folder / "checkpoints"):
            next(in_chunks(warm_up, 1, folder / "warm_up"))
            (folder / "warm_up" / WARM_UP).rename(chunk / WARM_UP)
            came, printed = run_worker("checkpoints", chunk)
            lines = faults(came, LIMITS)
            lines += [f"{chunk}: printed {printed[-1000:]}"] if printed else []
            keep(chunk, lines)
            wrong += lines
            found += [result for result in came if result.case != WARM_UP]
        return found, "\n".join(wrong)

    return run


def answered(found: Iterable[Result]) -> list[str]:
    return [result.case for result in found if result.outcome == "answered"]


def test_sound_checkpoints_are_loaded(bases: dict[str, Files], results: Results):
    found, wrong = results(bases.items())
    assert wrong == ""
    assert sorted(answered(found)) == sorted(bases), found


@pytest.mark.parametrize("count", [SOME, ALL])
def test_a_damaged_checkpoint_is_loaded_or_refused(count: int, bases: dict[str, Files], results: Results):
    found, wrong = results(checkpoint_mutants(bases, range(count)))
    assert wrong == ""
    outcomes = Counter(result.outcome for result in found)
    assert min(outcomes["answered"], outcomes["refused by CheckpointError"]) > count // 50  # both are put to the test


def test_no_code_in_a_checkpoint_is_run(results: Results, tmp_path: Path):
    marker = tmp_path / "executed"
    found, wrong = results(attacks(marker))
    assert wrong == ""
    assert answered(found) == []
    assert not marker.exists()
    pickle.loads(pickle.dumps(Attack(marker)))  # noqa: S301 - shows that it would have been
    assert marker.exists()


def test_what_is_meant_to_do_harm_is_refused(results: Results):
    found, wrong = results(bad_checkpoints())
    loaded = [case for case in answered(found) if not case.startswith("odd_")]
    assert (wrong, loaded) == ("", [])
    assert len(found) > 150
