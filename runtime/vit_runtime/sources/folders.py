"""Walks through folders, one at a time, in order of path."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
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
    """A folder that is being walked through, and which of its names are still to come."""

    path: Path
    wanted: Wanted
    identity: tuple[int, int]
    names: list[str] = field(default_factory=list)
    """Backwards, so that the next one is at the end."""
    folders: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    """Names of what is neither a folder nor a regular file."""

    def list(self) -> None:
        with os.scandir(self.path) as entries:
            for entry in entries:
                name, kind = entry.name, _kind(entry)
                if kind == stat.S_IFDIR:
                    if self.wanted.inside(name) is None:
                        continue
                    self.folders.add(name)
                elif not self.wanted.takes(name):
                    continue
                elif kind != stat.S_IFREG:
                    self.others.add(name)
                self.names.append(name)
        self.names.sort(reverse=True)


class _Way:
    """The folders from the first to the present one, and the links that were followed."""

    def __init__(self) -> None:
        self.levels: list[_Level] = []
        self._linked: set[tuple[int, int, Wanted]] = set()

    def enter(self, path: Path, wanted: Wanted) -> Found | None:
        """Goes into a folder, unless that was done already; gives the reason where it cannot be read."""
        try:
            status = path.stat()
            level = _Level(path, wanted, (status.st_dev, status.st_ino))
            if any(level.identity == outer.identity for outer in self.levels):
                return None
            if self.levels and path.is_symlink():
                if (key := (*level.identity, wanted)) in self._linked:
                    return None
                self._linked.add(key)
            level.list()
        except OSError as error:
            return failure(str(path), f"cannot be read ({error.strerror})")
        self.levels.append(level)
        return None


def walk(folder: Path, wanted: Wanted) -> Iterator[Found]:
    """Gives the files that are wanted in a folder and in those below it, in order of path, lazily.

    One list of names is held for each folder on the way from the first to the present one.

    Links are followed. A folder that leads back to one on this way is not entered again, and of several links to one
    folder the first is followed: a folder is read at most once by its own name and once by a link, however the links
    are knotted.

    A folder that cannot be read becomes one record. So does a file that is wanted but not regular: reading from a pipe
    or a device might never end.
    """
    way = _Way()
    failed = way.enter(folder, wanted)
    if failed:
        yield failed
    while way.levels:
        here = way.levels[-1]
        if not here.names:
            way.levels.pop()
            continue
        name = here.names.pop()
        path = here.path / name
        if name in here.others:
            yield failure(str(path), "is no regular file")
        elif name not in here.folders:
            yield Found(str(path), path)
        elif (inner := here.wanted.inside(name)) and (failed := way.enter(path, inner)):
            yield failed


def pictures_below(folder: Path) -> list[Path]:
    """The pictures in a folder and in those below it, as `walk` finds them; what cannot be read is passed over."""
    return [found.source for found in walk(folder, EveryPicture()) if isinstance(found.source, Path)]


def _kind(entry: os.DirEntry[str]) -> int:
    """What an entry is, or what it links to, as one of stat's S_IF values; 0 for other things and for broken links."""
    try:
        if entry.is_dir():
            return stat.S_IFDIR
        return stat.S_IFREG if entry.is_file() else 0
    except PermissionError:  # a link into a folder that may not be searched: reading it will say so
        return stat.S_IFREG
    except OSError:  # a link to itself
        return 0
