"""One contender over a folder, in a process of its own.

Run as `python -m vit_bench.contenders.folder.worker`, with a `FolderTask` as JSON on its standard input. At its end it
prints what it measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from vit_bench.contenders.folder.task import NO_CLASS, FolderMeasured, FolderTask
from vit_bench.contenders.names import OWN
from vit_bench.contenders.task import tell_document, work_as_told
from vit_runtime.devices.memory import return_large_blocks_at_once, reuse_large_blocks

_WARM_UP_PICTURES: Final = 16
"""Pictures of a warm-up over the folder: the first runs allocate memory, workers start, and a processor needs a moment
to reach its clock rate."""


class FolderEngine(Protocol):
    """A contender, loaded, with the photos of its task."""

    version: str
    detail: str
    reading: str

    def answers(self, positions: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Answers photos as fast as it can: the position and the likeliest class of each, in any order."""

    def answer(self, photo: str) -> None:
        """The whole way from a file to the names of the likeliest classes, and nothing beside it."""


def _load(folder: FolderTask) -> FolderEngine:
    """Loads a contender, with memory as `vit-run` handles it, whoever it is."""
    return_large_blocks_at_once()
    engine: FolderEngine
    if folder.task.tool == OWN:
        from vit_bench.contenders.folder.vit_edge import VitEdgeFolder

        engine = VitEdgeFolder(folder)
    else:
        from vit_bench.contenders.folder.data_loader import DataLoaderFolder

        engine = DataLoaderFolder(folder)
    reuse_large_blocks()
    return engine


def _measure(folder: FolderTask) -> None:
    if folder.work == "tune":
        tell_document(_tuned(folder))
        return
    engine = _load(folder)
    tell_document(_over_folder(engine, folder) if folder.work == "folder" else _one_by_one(engine, folder))


def _tuned(folder: FolderTask) -> FolderMeasured:
    from vit_bench.contenders.folder.data_loader import DataLoaderFolder

    engine = DataLoaderFolder(folder)
    loader, tried = engine.fastest_loader()
    return FolderMeasured(version=engine.version, detail=engine.detail, loader=loader, tried=tried)


def _over_folder(engine: FolderEngine, folder: FolderTask) -> FolderMeasured:
    """Goes through the folder until the time is over, at least once; counts the answers of each photo."""
    positions = range(len(folder.task.photos))
    for _ in engine.answers(positions[:_WARM_UP_PICTURES]):
        pass
    answered, classes = [0] * len(positions), [NO_CLASS] * len(positions)
    taken: list[float] = []
    end = time.perf_counter() + folder.task.seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        found = list(engine.answers(positions))
        taken.append(time.perf_counter() - start)
        for position, best in found:
            answered[position] += 1
            classes[position] = best
    return FolderMeasured(
        version=engine.version,
        detail=engine.detail,
        reading=engine.reading,
        pass_seconds=tuple(taken),
        answered=tuple(answered),
        classes=tuple(classes),
    )


def _one_by_one(engine: FolderEngine, folder: FolderTask) -> FolderMeasured:
    """Goes through the photos until the time is over, always to their end: all contenders see the same ones."""
    photos = folder.task.photos
    engine.answer(photos[0])
    end = time.perf_counter() + folder.task.warm_up_seconds
    while time.perf_counter() < end:
        engine.answer(photos[0])
    taken: list[float] = []
    end = time.perf_counter() + folder.task.seconds
    while not taken or time.perf_counter() < end:
        for photo in photos:
            start = time.perf_counter()
            engine.answer(photo)
            taken.append(time.perf_counter() - start)
    return FolderMeasured(version=engine.version, detail=engine.detail, photo_seconds=tuple(taken))


if __name__ == "__main__":
    work_as_told(FolderTask, _measure)
