"""`vit-bench latency`: contenders side by side, the model alone and from photo to answer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from vit_bench.contenders.entrants import Entrant, model_names
from vit_bench.contenders.peers import Peers
from vit_bench.contenders.process import Finished
from vit_bench.measure.rounds import Rounds, Settings, run_rounds
from vit_bench.measure.statistics import cosine, quantiles
from vit_bench.results import ContenderLatency, Kind, Latency, Timing
from vit_export.progress import Progress
from vit_runtime.pictures.formats import open_picture
from vit_runtime.pictures.reading import read_rgb
from vit_runtime.selftest import waves

_SIZE_HW: Final = (960, 1280)
_NOISE: Final = 12.0
"""Standard deviation, of 255: a JPEG then takes about as many bytes for a pixel as one of a real scene."""


def write_photo(path: Path) -> Path:
    """Writes a JPEG of 1.2 megapixels, made by formula."""
    noise = np.random.default_rng(0).normal(0.0, _NOISE, (*_SIZE_HW, 1))
    pixels = np.clip(waves(_SIZE_HW) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=85)
    return path


def describe_photo(path: Path) -> str:
    """Tells a photo's size and format, not its name: "1280x960 JPEG, 310 kB".

    Raises:
        ImageError: it is no picture.
    """
    read_rgb(path)
    with path.open("rb") as file, open_picture(file) as image:
        return f"{image.width}x{image.height} {image.format}, {path.stat().st_size / 1e3:.0f} kB"


_WARM_UP_SECONDS: Final = 0.5
"""Seconds of warm-up, and at least three runs: the first ones allocate memory, and a processor needs a moment to reach
its clock rate."""
_CONCLUSIVE: Final = 1.25
"""An interval whose ends are further apart than this says too little."""
_SAME_WORK: Final = 0.9
"""A cosine with the reference's scores below this is no rounding error of int8: it is another model or other pixels."""
_SAMPLES: Final[dict[Kind, Callable[[Finished], Sequence[float]]]] = {
    "model": lambda finished: finished.measured.model_seconds,
    "photo": lambda finished: finished.measured.photo_seconds,
}


def measure_latency(
    entrants: Sequence[Entrant], peers: Peers, photo: Path, settings: Settings, progress: Progress
) -> Latency:
    """Measures artifacts and their peers in rounds.

    Raises:
        ImageError: the photo is none.
        VitEdgeError: nothing could be measured.
    """
    description = describe_photo(photo)
    everyone = [*entrants, *peers.entrants]

    def run(entrant: Entrant) -> Finished:
        task = replace(
            entrant.task,
            photos=(str(photo),),
            threads=settings.threads,
            batch=settings.batch,
            seconds=settings.seconds / settings.rounds,
            warm_up_seconds=_WARM_UP_SECONDS,
        )
        return entrant.run(task)

    done = run_rounds(everyone, settings.rounds, run, progress, absent=peers.absent)
    own = peers.own_weights
    measured = tuple(
        _latency(entrant, done, comparable=own is not False) for entrant in everyone if entrant.name in done.finished
    )
    return Latency(
        model=model_names(everyone),
        reference=done.reference,
        reference_weights=None if own is None else "same" if own else "random",
        batch=settings.batch,
        threads=settings.threads,
        seconds=settings.seconds,
        photo=description,
        contenders=measured,
        absent=tuple(done.absent),
        warnings=tuple(_doubts(measured, done)),
        interrupted=done.interrupted,
    )


def _latency(entrant: Entrant, done: Rounds[Finished], *, comparable: bool) -> ContenderLatency:
    rounds = [*done.finished[entrant.name].values()]
    last = rounds[-1].measured
    similar = None
    if comparable and entrant.name != done.reference:
        *_, theirs = done.finished[done.reference].values()
        similar = cosine(last.scores, theirs.measured.scores)
    return ContenderLatency(
        contender=entrant.facts(last.version, last.detail),
        timings=tuple(
            _timing(entrant.name, kind, done) for kind, samples in _SAMPLES.items() if all(map(samples, rounds))
        ),
        cosine=similar,
    )


def _timing(name: str, kind: Kind, done: Rounds[Finished]) -> Timing:
    samples = _SAMPLES[kind]
    by_round = [samples(finished) for finished in done.finished[name].values()]
    return Timing(
        kind=kind,
        all_rounds=quantiles([value for taken in by_round for value in taken]),
        rounds=tuple(map(quantiles, by_round)),
        speedup=done.times_of_reference(name, lambda finished: statistics.median(samples(finished))),
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
