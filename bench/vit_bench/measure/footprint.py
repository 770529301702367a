"""`vit-bench footprint`: what it takes to get a first answer, in time, memory and on disk, installed packages too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vit_bench.contenders.entrants import Entrant, model_names
from vit_bench.contenders.peers import Peers
from vit_bench.contenders.process import Finished
from vit_bench.measure.rounds import Rounds, Settings, run_rounds
from vit_bench.measure.statistics import quantiles
from vit_bench.results import Footprint, Footprints
from vit_export.progress import Progress

if TYPE_CHECKING:
    from packaging.requirements import Requirement


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
    rounds = [*done.finished[name].values()]
    return Footprint(
        contender=entrant.facts(rounds[0].measured.version, rounds[0].measured.detail),
        first_answer=quantiles([each.first_answer_seconds for each in rounds]),
        first_answer_speedup=done.times_of_reference(name, lambda each: each.first_answer_seconds),
        peak_bytes=quantiles([each.measured.peak_bytes for each in rounds]),
        peak_ratio=done.times_of_reference(name, lambda each: each.measured.peak_bytes),
        model_bytes=entrant.bytes,
        installed_bytes=sum(map(installed_bytes, packages)),
        installed_packages=len(packages),
    )


_OWN: Final = "vit-edge"
_EQUIVALENTS: Final = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")}
"""Distributions that bring the same module: whichever is installed counts."""


def requirements(names: Sequence[str]) -> list[Distribution]:
    """The installed distributions of these names, and all that they need in turn, each once."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement(name) for name in names]
    while left:
        requirement = left.pop()
        for name in _EQUIVALENTS.get(requirement.name, (requirement.name,)):
            try:
                package = distribution(name)
            except PackageNotFoundError:
                continue  # not needed on this system, or not installed with it
            asked = (package.metadata["Name"], frozenset(requirement.extras))
            if asked in seen:
                continue
            seen.add(asked)
            found[package.metadata["Name"]] = package
            left.extend(need for text in package.requires or () if _applies(need := Requirement(text), requirement))
    return list(found.values())


def _applies(need: Requirement, parent: Requirement) -> bool:
    """Whether a requirement's condition holds on this system, with the extras that its parent was asked for."""
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in parent.extras or {""})


def installed_bytes(package: Distribution) -> int:
    """What a distribution's files take on disk, by its own record, compiled Python included."""
    if package.metadata["Name"] == _OWN:
        return _own_bytes()
    files = package.files or ()
    paths = (Path(str(package.locate_file(file))) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


def _own_bytes() -> int:
    """vit-edge's three packages, which an editable installation keeps elsewhere than its record says."""
    import vit_bench
    import vit_export
    import vit_runtime

    folders = (Path(str(module.__file__)).parent for module in (vit_bench, vit_export, vit_runtime))
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
