"""`vit-bench footprint`: what it takes to get a first answer, in time, memory and on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vit_bench.measure.entrants import Entrant, model_names
from vit_bench.measure.installed import installed_bytes, requirements
from vit_bench.measure.peers import Peers
from vit_bench.measure.process import Finished
from vit_bench.measure.rounds import Rounds, Settings, run_rounds
from vit_bench.measure.statistics import quantiles
from vit_bench.results import Footprint, Footprints
from vit_export.progress import Progress


def measure_footprint(
    entrants: Sequence[Entrant], peers: Peers, photo: Path, settings: Settings, progress: Progress
) -> Footprints:
    """Starts each contender anew in every round, up to the first photo's answer.

    Raises:
        KeyboardInterrupt: the user ended it before anything was measured.
        VitEdgeError: nothing could be measured.
    """
    everyone = [*entrants, *peers.entrants]

    def run(entrant: Entrant) -> Finished:
        return entrant.run(replace(entrant.task, photos=(str(photo),), threads=settings.threads))

    # The first start reads files from the disk, and compiles what is to be compiled: it counts for nobody.
    before = run_rounds(everyone, 1, run, progress, absent=peers.absent)
    if before.interrupted:
        raise KeyboardInterrupt
    ready = [entrant for entrant in everyone if entrant.name in before.finished]
    done = run_rounds(ready, settings.rounds, run, progress, absent=before.absent)
    return Footprints(
        model=model_names(everyone),
        reference=done.reference,
        threads=settings.threads,
        contenders=tuple(_footprint(entrant, done) for entrant in ready if entrant.name in done.finished),
        absent=tuple(done.absent),
        warnings=tuple(done.doubts()),
        interrupted=done.interrupted,
    )


def _footprint(entrant: Entrant, done: Rounds[Finished]) -> Footprint:
    name = entrant.name
    packages = requirements(entrant.runs_on)
    first = next(iter(done.finished[name].values())).measured
    return Footprint(
        contender=entrant.facts(first.version, first.detail),
        first_answer=quantiles(done.each(name, _first_answer)),
        first_answer_speedup=done.times_of_reference(name, _first_answer),
        peak_bytes=quantiles(done.each(name, _peak)),
        peak_ratio=done.times_of_reference(name, _peak),
        model_bytes=entrant.bytes,
        installed_bytes=sum(map(installed_bytes, packages)),
        installed_packages=len(packages),
    )


def _first_answer(finished: Finished) -> float:
    return finished.first_answer_seconds


def _peak(finished: Finished) -> float:
    return float(finished.measured.peak_bytes)
