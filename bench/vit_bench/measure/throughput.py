"""`vit-bench throughput`: pictures a second over a folder, and photo to answer one after the other, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vit_bench.contenders.entrants import model_names
from vit_bench.contenders.folder.runner import Runner, with_fastest_loader
from vit_bench.contenders.folder.task import NO_CLASS, FolderMeasured
from vit_bench.contenders.names import OWN
from vit_bench.contenders.peers import Peers
from vit_bench.contenders.task import Task
from vit_bench.errors import ContenderError
from vit_bench.measure.folder_photos import FolderPhotos
from vit_bench.measure.rounds import Rounds, Settings, run_rounds
from vit_bench.measure.statistics import quantiles, share
from vit_bench.results import Absent, ContenderThroughput, Share, Throughput
from vit_export.progress import Progress
from vit_runtime.wording import plural

_WARM_UP_SECONDS: Final = 0.5
_ONE_BY_ONE: Final = 8
"""Photos that are answered one after the other, evenly out of the folder."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one contender did in one round."""

    folder: FolderMeasured
    photo: FolderMeasured

    @property
    def rate(self) -> float:
        """Pictures a second, in the middle pass."""
        return len(self.folder.answered) / statistics.median(self.folder.pass_seconds)

    @property
    def photo_seconds(self) -> float:
        """From a photo to its answer, in the middle."""
        return statistics.median(self.photo.photo_seconds)


def measure_throughput(
    runs: Sequence[Runner], peers: Peers, photos: FolderPhotos, settings: Settings, progress: Progress
) -> Throughput:
    """Measures contenders in rounds: in each turn first the folder, then one photo after the other.

    Contenders with a `DataLoader` look for their fastest settings first.

    Args:
        runs: who takes part; see `runners`.
        peers: those among them that are not ours, for what they say about themselves.
        photos: what to answer for.
        settings: threads, and seconds for each contender and each of the two.
        progress: is told of the rounds and of who failed.

    Raises:
        KeyboardInterrupt: the user ended it before anything was measured.
        VitEdgeError: nothing could be measured.
    """
    paths = tuple(map(str, photos.paths))
    chosen = paths[:: max(1, len(paths) // _ONE_BY_ONE)][:_ONE_BY_ONE]
    absent = list(peers.absent)

    def task(runner: Runner, photos: tuple[str, ...]) -> Task:
        seconds = settings.seconds / settings.rounds
        timed = replace(runner.task, threads=settings.threads, seconds=seconds, warm_up_seconds=_WARM_UP_SECONDS)
        return replace(timed, photos=photos)

    def run(runner: Runner) -> Turn:
        folder = runner.measure("folder", task(runner, paths))
        check_answers(runner.name, folder, len(paths))
        return Turn(folder=folder, photo=runner.measure("photo", task(runner, chosen)))

    ready = _tuned(runs, lambda runner: task(runner, paths), absent, progress)
    done = run_rounds(ready, settings.rounds, run, progress, absent=absent)
    own = peers.own_weights
    return Throughput(
        model=model_names(runs),
        reference=done.reference,
        reference_weights=None if own is None else "same" if own else "random",
        threads=settings.threads,
        seconds=settings.seconds,
        pictures=len(paths),
        photos=photos.description,
        contenders=tuple(
            _entry(runner, done, comparable=own is not False) for runner in ready if runner.name in done.finished
        ),
        absent=tuple(done.absent),
        warnings=tuple(done.doubts()),
        interrupted=done.interrupted,
    )


def check_answers(name: str, measured: FolderMeasured, pictures: int) -> None:
    """Counts that each picture was answered once in each pass.

    Raises:
        ContenderError: one was lost or repeated.
    """
    passes = len(measured.pass_seconds)
    wrong = [count for count in measured.answered if count != passes]
    if len(measured.answered) != pictures or wrong:
        what = f"answered {len(measured.answered) - len(wrong)} of {pictures} photos once in each of {passes} passes"
        raise ContenderError(name, f"{what}: pictures were lost or repeated")


def _tuned(
    runs: Sequence[Runner], task: Callable[[Runner], Task], absent: list[Absent], progress: Progress
) -> list[Runner]:
    """Gives contenders with the loaders that suit them; those that fail are added to the absent ones."""
    ready = []
    for runner in runs:
        if runner.task.tool == OWN:
            ready.append(runner)
            continue
        progress.stage(f"{runner.name}: looking for its fastest settings")
        try:
            ready.append(with_fastest_loader(runner, task(runner)))
        except ContenderError as error:
            absent.append(Absent(name=runner.name, reason=error.what, crashed=True))
            progress.note(f"{runner.name} {error.what}; the others go on")
    return ready


def _entry(runner: Runner, done: Rounds[Turn], *, comparable: bool) -> ContenderThroughput:
    turns = [*done.finished[runner.name].values()]
    last = turns[-1].folder
    rate_ratio = done.times_of_reference(runner.name, lambda turn: 1 / turn.rate)
    rates = [len(turn.folder.answered) / seconds for turn in turns for seconds in turn.folder.pass_seconds]
    loader = f"{runner.loader}, the fastest of {plural(runner.tried, 'setting')}" if runner.loader else ""
    *_, theirs = done.finished[done.reference].values()
    is_compared = comparable and runner.name != done.reference
    return ContenderThroughput(
        contender=runner.facts(last.version, last.detail),
        reading="; ".join(filter(None, (last.reading, loader))),
        passes=len(rates),
        rate=quantiles(rates),
        rate_ratio=rate_ratio,
        photo=quantiles([seconds for turn in turns for seconds in turn.photo.photo_seconds]),
        photo_speedup=done.times_of_reference(runner.name, lambda turn: turn.photo_seconds),
        agreement=_agreement(last.classes, theirs.folder.classes) if is_compared else None,
    )


def _agreement(ours: Sequence[int], theirs: Sequence[int]) -> Share | None:
    """For how many pictures the likeliest class is the same; None for models without classes."""
    if NO_CLASS in ours:
        return None
    return share(sum(one == other for one, other in zip(ours, theirs, strict=True)), len(ours))
