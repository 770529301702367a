"""Contenders in turn, round after round, so that a machine whose speed drifts hits all alike.

Each round begins with another one: whoever follows a contender that heats the processor is not always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from vit_bench.contenders.entrants import Entrant
from vit_bench.contenders.names import REFERENCE
from vit_bench.errors import ContenderError
from vit_bench.measure.statistics import paired_ratio
from vit_bench.results import Absent, Ratio
from vit_export.progress import Progress
from vit_runtime.errors import VitEdgeError

FEW_ROUNDS: Final = 5
"""From so many rounds on, a repetition lies in the interval in at least 9 of 10 cases
(tests/bench/test_statistics.py)."""


T = TypeVar("T")
E = TypeVar("E", bound=Entrant)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    threads: int
    """Threads of every contender alike; at least 1."""
    batch: int = 1
    """Pictures in one pass."""
    seconds: float = 20.0
    """Seconds for each contender and each kind of latency, over all rounds."""
    rounds: int = 10


@dataclass(kw_only=True)
class Rounds(Generic[T]):
    """What all contenders gave, as far as it went."""

    finished: dict[str, dict[int, T]] = field(default_factory=dict)
    """What each contender gave, by its name in the order of the contenders, and by number of the round; contenders that
    gave nothing are left out."""
    absent: list[Absent] = field(default_factory=list)
    """Contenders that could not begin, and those that failed on the way."""
    interrupted: bool = False

    @property
    def reference(self) -> str:
        """The contender that the others are compared with: PyTorch where it was measured, else the first."""
        return REFERENCE if REFERENCE in self.finished else next(iter(self.finished))

    def times_of_reference(self, name: str, value: Callable[[T], float]) -> Ratio | None:
        """The reference's value over a contender's, from the rounds that both have; None for the reference itself."""
        if name == self.reference:
            return None
        ours, theirs = self.finished[name], self.finished[self.reference]
        both = [number for number in ours if number in theirs]
        return paired_ratio([value(theirs[number]) for number in both], [value(ours[number]) for number in both])

    def doubts(self) -> list[str]:
        """Whether there were too few rounds for intervals to hold what they promise."""
        fewest = min(len(rounds) for rounds in self.finished.values())
        few = f"intervals of {fewest} rounds mean little: give at least {FEW_ROUNDS}"
        return [few] if fewest < FEW_ROUNDS else []


def run_rounds(
    entrants: Sequence[E],
    rounds: int | None,
    run: Callable[[E], T],
    progress: Progress,
    *,
    absent: Sequence[Absent] = (),
) -> Rounds[T]:
    """Runs all contenders once a round, each round beginning with the next one: A B C, B C A, C A B.

    A contender that fails is reported and left out from then on. Ctrl-C ends the rounds; what was measured is kept.

    Args:
        entrants: who takes part.
        rounds: at least 1; None for a single one, whose turns are long and tell of themselves.
        run: gives one contender's turn.
        progress: is told of the rounds and of who failed.
        absent: those who cannot take part.

    Raises:
        KeyboardInterrupt: the user ended it before anything was measured.
        VitEdgeError: every contender failed; with the first one's reason.
    """
    result: Rounds[T] = Rounds(absent=list(absent))
    left = list(entrants)
    try:
        for number in range(1, (rounds or 1) + 1):
            if rounds:
                progress.stage(f"round {number} of {rounds}", total=len(left))
            first = (number - 1) % len(left) if left else 0
            for entrant in (*left[first:], *left[:first]):
                try:
                    finished = run(entrant)
                except ContenderError as error:
                    left.remove(entrant)
                    reason = f"failed in round {number}: {error.what}" if rounds else error.what
                    result.absent.append(Absent(name=entrant.name, reason=reason, crashed=True))
                    progress.note(f"{entrant.name} {reason}; the others go on")
                else:
                    result.finished.setdefault(entrant.name, {})[number] = finished
                if rounds:
                    progress.advance(1)
    except KeyboardInterrupt:
        result.interrupted = True
    if result.finished:
        return result
    if result.interrupted:
        raise KeyboardInterrupt
    reasons = [f"{each.name} {each.reason}" for each in result.absent] or ["there are no contenders"]
    raise VitEdgeError("nothing was measured", reasons[0])
