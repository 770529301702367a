"""Brings an index up to date with folders: which pictures are new, have changed, or are there no more."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from vit_runtime.arrays import FloatArray
from vit_runtime.command_line.console import note
from vit_runtime.command_line.jobs import PictureJob, Pictures
from vit_runtime.errors import ImageError, UsageError, option
from vit_runtime.searching.folders import Folders
from vit_runtime.searching.index import Index, create_index, open_index
from vit_runtime.searching.layout import HEADER_FILE
from vit_runtime.searching.writer import UNKNOWN, Stamp, Writer
from vit_runtime.sources.source import Found
from vit_runtime.waiting import WAITING, Waiting
from vit_runtime.workers.works import Prepared


def open_or_create(path: Path, model: Path, *, int8: bool, force: bool) -> Index:
    """Opens an index that is there, or makes one.

    Raises:
        UsageError: `int8` is asked for, and the index is kept in float32.
        VitEdgeError: see `open_index` and `create_index`.
    """
    if force or not (path / HEADER_FILE).exists():
        return create_index(path, model, int8=int8, force=force)
    kept = open_index(path, model)
    if int8 and kept.numbers != "int8":
        raise UsageError(option("int8", value=True), f"{path} is kept in float32", "add --force to make it anew")
    return kept


def update(kept: Index, images: Sequence[str], pictures: Pictures, load: Callable[[], PictureJob]) -> None:
    """Computes the pictures that are new or have changed, drops what is gone, tells how many, and ends the command.

    Pictures elsewhere stay in the index: a disk that is not there at the moment costs nothing. Each row is on the disk
    some seconds after it was computed, so that this can be broken off and be started again.

    Args:
        kept: the index.
        images: what the user named.
        pictures: what was found there.
        load: loads the model; called where there is something to compute.
    """
    counts: Counter[str] = Counter()
    names, job = Folders(kept.path), None
    try:
        with kept.writer() as writer:
            new = _new(pictures, writer, names, counts)
            first = next(new, None)
            if first is not None:
                job = load()
                _put(writer, job, chain([first], new), names, counts)
            if job is None or not job.is_stopped:
                counts["dropped"] = _drop(writer, names, [Path(image) for image in images])
    except KeyboardInterrupt:
        note(f"{kept.path}: {_told(counts)}; run the same again to go on")
        raise
    kept.reload()
    again = "; run the same again to go on" if job is not None and job.is_stopped else ""
    note(f"{kept.path}: {_told(counts)}; {len(kept)} pictures by {kept.model_name}, in {kept.numbers}{again}")
    if job is not None:
        job.end()


@dataclass(frozen=True)
class _New:
    """A picture to compute, and its stamp from before it is read: what changes after that is seen the next time."""

    found: Found
    stamp: Stamp


def _new(
    pictures: Iterable[Found | Waiting], writer: Writer, names: Folders, counts: Counter[str]
) -> Iterator[_New | Waiting]:
    """Gives the pictures that are new or have changed; counts the others."""
    for found in pictures:
        if found is WAITING:
            yield found
            continue
        path = Path(found.name)
        stamp = UNKNOWN if found.error is not None else _stamp(path)
        if stamp == UNKNOWN or stamp != writer.stamp_before(names.name(path)):
            yield _New(found, stamp)
        else:
            counts["unchanged"] += 1


def _put(
    writer: Writer, job: PictureJob, items: Iterable[_New | Waiting], names: Folders, counts: Counter[str]
) -> None:
    def read(item: _New) -> Prepared[tuple[_New, FloatArray]]:
        return Prepared(job.pixels(item.found), lambda row: (item, row))

    results = job.each(items, read, lambda item: item.found, bar=True)
    with closing(results):
        for result in results:
            if isinstance(result, ImageError):
                continue
            item, embedding = result
            job.sound(embedding)
            name = names.name(Path(item.found.name))
            counts["added" if writer.stamp_before(name) is None else "updated"] += 1
            writer.put(name, embedding, item.stamp)


def _drop(writer: Writer, names: Folders, folders: Sequence[Path]) -> int:
    """Drops rows of the folders whose picture is gone, or is another and could not be read."""
    return sum(
        writer.remove(name)
        for name in writer.names_before()
        if names.is_below(name, folders) and _is_gone(names.path(name), writer.stamp_before(name))
    )


def _is_gone(path: Path, stamp: Stamp | None) -> bool:
    try:
        return _stamp_of(path) != stamp
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # a folder that may not be read at the moment
        return False


def _stamp(path: Path) -> Stamp:
    try:
        return _stamp_of(path)
    except (OSError, ValueError):  # reading it will say so
        return UNKNOWN


def _stamp_of(path: Path) -> Stamp:
    """The stamp of a file, or of the archive in which it lies; what is no regular file has none.

    Raises:
        OSError: there is no such file, or it may not be looked at.
    """
    try:
        status = path.stat()
    except NotADirectoryError:
        return _stamp_of(path.parent)
    return Stamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else UNKNOWN


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[what]} {what}" for what in ("added", "updated", "dropped", "unchanged"))
