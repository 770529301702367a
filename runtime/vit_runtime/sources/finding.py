"""Finds every picture that the paths of a command name, one after the other."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from vit_runtime.pictures.formats import PICTURE_SUFFIXES
from vit_runtime.sources.folders import EveryPicture, walk
from vit_runtime.sources.source import Found, failure
from vit_runtime.waiting import Waiting

STDIN: Final = "-"
"""In place of a path: read paths from stdin."""


def find(
    paths: Iterable[str], *, most_bytes: int = 256 << 20, stdin: BinaryIO | None = None
) -> Iterator[Found | Waiting]:
    """Gives the pictures that are named by paths, in order, lazily; memory stays flat however many there are.

    A path is one of:

    - a file of any name, which is not opened here;
    - a folder: the pictures in it and in the folders below, by their suffixes, in order of path (`folders.walk`);
    - a tar or zip archive: the pictures in it, in its order, as encoded bytes (`archives.pictures_in`);
    - a pattern, where no such file exists: the files that fit (`patterns.matches`);
    - "-": paths from stdin, one a line, each given as it comes (`lines.read_paths`). They can be files, folders and
      archives, but no patterns. While none comes, `WAITING` is given.

    What gives no picture is a record with an error, and the search goes on.

    Args:
        paths: what to search.
        most_bytes: most bytes of a picture in an archive.
        stdin: where "-" reads from; by default the process's own.
    """
    for path in paths:
        if path == STDIN:
            yield from _listed(stdin, most_bytes)
        else:
            yield from _named(path, most_bytes, patterns=True)


def _listed(stream: BinaryIO | None, most_bytes: int) -> Iterator[Found | Waiting]:
    from vit_runtime.sources.lines import read_paths  # as below: costs milliseconds, and few commands need it

    stream = stream or getattr(sys.stdin, "buffer", None)
    if stream is None:  # a process may be started without
        yield failure(STDIN, "stdin is closed", "pipe paths into the command")
        return
    for line in read_paths(stream):
        if isinstance(line, str):
            yield from _named(line, most_bytes, patterns=False)
        else:
            yield line


def _named(text: str, most_bytes: int, *, patterns: bool) -> Iterator[Found]:
    """Gives the pictures behind one path. A path that leads nowhere is given as it is: reading it tells why."""
    if not text:  # as a Path it would be the present folder
        yield Found("''", text)
        return
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a NUL inside
        yield from _absent(text, path, patterns=patterns)
        return
    if stat.S_ISDIR(mode):
        yield from _or(walk(path, EveryPicture()), path, "a folder without pictures")
    elif stat.S_ISREG(mode) and path.suffix.lower() not in PICTURE_SUFFIXES:
        yield from _file(path, most_bytes)
    else:
        yield Found(str(path), path)


def _absent(text: str, path: Path, *, patterns: bool) -> Iterator[Found]:
    if patterns:
        from vit_runtime.sources.patterns import is_pattern, matches

        if is_pattern(text) and not os.path.lexists(text):
            yield from matches(text)
            return
    yield Found(str(path), path)


def _file(path: Path, most_bytes: int) -> Iterator[Found]:
    from vit_runtime.sources.archives import is_archive, pictures_in

    if is_archive(path):
        yield from _or(pictures_in(path, most_bytes), path, "an archive without pictures")
    else:
        yield Found(str(path), path)


def _or(found: Iterator[Found], path: Path, nothing: str) -> Iterator[Found]:
    """Gives what was found, or a record that nothing was."""
    first = next(found, None)
    if first is None:
        yield failure(str(path), nothing, "give one with .jpg or .png files in it")
        return
    yield first
    yield from found
