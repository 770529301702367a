"""Walks through folders, one at a time, in order of path."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vit_runtime.pictures.naming import counts_as_picture
from vit_runtime.sources.source import Found, failure


class Wanted(Hashable, Protocol):
    """Which files and folders of a folder a walk takes, by their names; equal ones take the same."""

    def takes(self, name: str) -> bool:
        """Whether a file counts."""

    def inside(self, name: str) -> Wanted | None:
        """What counts in a folder; None where it is not entered."""


@dataclass(frozen=True)
class EveryPicture:
    """Takes all pictures in all folders that are not hidden."""

    def takes(self, name: str) -> bool:
        """Whether a file's name is a picture's."""
        return counts_as_picture(name)

    def inside(self, name: str) -> Wanted | None:
        """The same in each folder."""
        return None if name.startswith(".") else self


@dataclass
class _Level:
    """A folder that is being walked through: what it is called, and which of its names are still to come."""

    path: Path
    wanted: Wanted
    identity: tuple[int, int]
    names: list[str]
    """Backwards, so that the next one is at the end."""
    folders: set[str]
    others: set[str]


def walk(folder: Path, wanted: Wanted) -> Iterator[Found]:
    """Gives the files that are wanted in a folder and in those below it, in order of path, lazily.

    One list of names is held for each folder on the way from the first to the present one. Links are followed. A folder
    that leads back to one on this way is not entered again, and of several links to one folder the first is followed:
    each picture in it is given once, however the links are knotted.

    A folder that cannot be read becomes one record, and so does a file that is wanted and is neither a regular file nor
    a link to one: reading from a pipe or a device might never end.
    """
    linked: set[tuple[int, int, Wanted]] = set()
    first = _opened(folder, wanted)
    if isinstance(first, Found):
        yield first
        return
    way = [first]
    while way:
        here = way[-1]
        if not here.names:
            way.pop()
            continue
        name = here.names.pop()
        path = here.path / name
        if name not in here.folders:
            yield failure(str(path), "is no regular file") if name in here.others else Found(str(path), path)
            continue
        inner = here.wanted.inside(name)
        level = None if inner is None else _opened(path, inner)
        if isinstance(level, Found):
            yield level
        elif level is not None and not _again(path, level, way, linked):
            way.append(level)


def _again(path: Path, level: _Level, way: list[_Level], linked: set[tuple[int, int, Wanted]]) -> bool:
    """Whether a folder contains itself, or another link to it was followed; remembers links that are followed."""
    if any(level.identity == outer.identity for outer in way):
        return True
    if not path.is_symlink():
        return False
    key = (*level.identity, level.wanted)
    seen = key in linked
    linked.add(key)
    return seen


def _opened(path: Path, wanted: Wanted) -> _Level | Found:
    """Lists a folder's wanted names, sorted; gives the reason where it cannot be read."""
    names: list[str] = []
    folders: set[str] = set()
    others: set[str] = set()
    try:
        status = path.stat()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir():
                    if wanted.inside(entry.name) is not None:
                        names.append(entry.name)
                        folders.add(entry.name)
                elif wanted.takes(entry.name):
                    names.append(entry.name)
                    if not _is_file(entry):
                        others.add(entry.name)
    except OSError as error:
        return failure(str(path), f"cannot be read ({error.strerror})")
    names.sort(reverse=True)
    return _Level(path, wanted, (status.st_dev, status.st_ino), names, folders, others)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link into a folder that may not be searched: reading it will say so
        return True
