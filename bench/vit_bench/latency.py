"""`vit-bench latency`: contenders side by side, the model alone and from photo to answer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_bench.contenders import REFERENCE, Entrant, Peers, model_names
from vit_bench.photo import describe_photo
from vit_bench.process import Finished, run_task
from vit_bench.results import ContenderLatency, Kind, Latency, Quantiles, Timing
from vit_bench.rounds import Rounds, require_results, run_rounds
from vit_bench.statistics import cosine, quantiles
from vit_export.progress import Progress

_WARM_UP_SECONDS: Final = 0.5
"""And at least three runs: the first ones allocate memory, and a processor needs a moment to reach its clock rate."""
_CONCLUSIVE: Final = 1.25
"""An interval whose ends are further apart than this says too little."""
_SAME_WORK: Final = 0.9
"""A cosine with the reference's scores below this is no rounding error of int8: it is another model or other pixels."""
_SAMPLES: Final[dict[Kind, Callable[[Finished], Sequence[float]]]] = {
    "model": lambda finished: finished.measured.model_seconds,
    "photo": lambda finished: finished.measured.photo_seconds,
}


@dataclass(frozen=True, kw_only=True)
class LatencySettings:
    """How to measure."""

    photo: Path
    batch: int
    threads: int
    seconds: float
    """For each contender and each kind of latency, over all rounds."""
    rounds: int


def measure_latency(
    entrants: Sequence[Entrant], peers: Peers, settings: LatencySettings, progress: Progress
) -> Latency:
    """Measures artifacts and their peers in rounds.

    Raises:
        ImageError: the photo is none.
        VitEdgeError: nothing could be measured.
    """
    photo = describe_photo(settings.photo)
    everyone = [*entrants, *peers.entrants]

    def run(entrant: Entrant) -> Finished:
        task = entrant.task(
            [settings.photo],
            threads=settings.threads,
            batch=settings.batch,
            seconds=settings.seconds / settings.rounds,
            warm_up_seconds=_WARM_UP_SECONDS,
        )
        return run_task(entrant.name, task, entrant.environment)

    done = run_rounds(everyone, settings.rounds, run, progress)
    require_results([*done.finished], [*peers.absent, *done.crashed], done.interrupted)
    reference = done.reference(everyone, REFERENCE)
    own = peers.own_weights
    measured = tuple(
        _latency(entrant, done, reference, comparable=own is not False)
        for entrant in everyone
        if entrant.name in done.finished
    )
    return Latency(
        model=model_names(everyone),
        reference=reference,
        reference_weights=None if own is None else "same" if own else "random",
        batch=settings.batch,
        threads=settings.threads,
        seconds=settings.seconds,
        photo=photo,
        contenders=measured,
        absent=(*peers.absent, *done.crashed),
        warnings=tuple(_doubts(measured, done)),
        interrupted=done.interrupted,
    )


def _latency(entrant: Entrant, done: Rounds[Finished], reference: str | None, *, comparable: bool) -> ContenderLatency:
    rounds = done.finished[entrant.name]
    last = rounds[max(rounds)].measured
    similar = None
    if comparable and reference is not None and entrant.name != reference:
        theirs = done.finished[reference]
        similar = cosine(last.scores, theirs[max(theirs)].measured.scores)
    return ContenderLatency(
        contender=entrant.facts(last.version, last.detail),
        timings=tuple(
            _timing(entrant.name, kind, done, reference)
            for kind, samples in _SAMPLES.items()
            if all(samples(finished) for finished in rounds.values())
        ),
        cosine=similar,
    )


def _timing(name: str, kind: Kind, done: Rounds[Finished], reference: str | None) -> Timing:
    samples = _SAMPLES[kind]
    rounds: list[Quantiles] = [quantiles(samples(finished)) for finished in done.finished[name].values()]
    return Timing(
        kind=kind,
        all_rounds=quantiles([value for finished in done.finished[name].values() for value in samples(finished)]),
        rounds=tuple(rounds),
        speedup=done.times_of_reference(name, reference, lambda finished: statistics.median(samples(finished))),
    )


def _doubts(measured: Sequence[ContenderLatency], done: Rounds[Finished]) -> list[str]:
    """Why the numbers may say less than they seem to."""
    doubts = done.doubts()
    wide = [
        (f"{item.contender.name} ({timing.speedup.low:.2f} to {timing.speedup.high:.2f})", timing.speedup.is_clear)
        for item in measured
        for timing in item.timings
        if timing.kind == "model" and timing.speedup and timing.speedup.high > _CONCLUSIVE * timing.speedup.low
    ]
    questions = {"which is faster": False, "by how much": True}
    noisy = [
        f"{question}: {', '.join(names)}"
        for question, clear in questions.items()
        if (names := [name for name, is_clear in wide if is_clear is clear])
    ]
    if noisy and not doubts:
        doubts.append(f"too noisy to conclude {'; '.join(noisy)}. Close other programs, or give more --rounds")
    if other := [item.contender.name for item in measured if item.cosine is not None and item.cosine < _SAME_WORK]:
        doubts.append(f"other answers than the reference's: {', '.join(other)}")
    return doubts
