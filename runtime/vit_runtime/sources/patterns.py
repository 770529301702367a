"""Finds the files that fit a pattern such as `photos/2024-*/**/*.jpg`, each of them once."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vit_runtime.pictures.naming import counts_as_picture
from vit_runtime.sources.folders import Wanted, walk
from vit_runtime.sources.source import Found, failure

_WILD = frozenset("*?[")
_ANY_FOLDERS = "**"


def is_pattern(path: str) -> bool:
    """Whether a path holds a character that stands for others."""
    return not _WILD.isdisjoint(path)


def matches(pattern: str) -> Iterator[Found]:
    """Gives the files that fit a pattern, in order of path; one record where there is none.

    `*`, `?` and `[...]` are as in shells, and fit hidden names only after a dot. `**` stands for any number of folders
    that are not hidden. A file that fits counts as if it had been named itself, whatever its suffix. A folder that fits
    counts as a folder that was named: all pictures in it. Unlike Python's `glob`, this sorts, is lazy, gives no file
    twice, and ends where links go in circles.
    """
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if is_pattern(part))
    folder = Path(*parts[:fixed])
    nothing = True
    if folder.is_dir():
        for found in walk(folder, _Pattern.start(parts[fixed:])):
            nothing = False
            yield found
    if nothing:
        yield failure(pattern, "no such file, and none that fits it as a pattern")


@dataclass(frozen=True)
class _Pattern:
    """What of a pattern is still to be met below some folder."""

    parts: tuple[str, ...]
    positions: frozenset[int]
    """Parts that a name in this folder may fit."""
    whole: bool
    """Whether the folder, or one around it, fits the whole pattern."""

    @classmethod
    def start(cls, parts: tuple[str, ...]) -> _Pattern:
        return cls._at(parts, {0}, whole=False)

    @classmethod
    def _at(cls, parts: tuple[str, ...], positions: Iterable[int], *, whole: bool) -> _Pattern:
        reached = set(positions)
        for index, part in enumerate(parts):
            if index in reached and part == _ANY_FOLDERS:
                reached.add(index + 1)  # it stands for no folder, too
        return cls(parts, frozenset(reached - {len(parts)}), whole or len(parts) in reached)

    def takes(self, name: str) -> bool:
        last = len(self.parts) - 1
        if last in self.positions and self.parts[last] != _ANY_FOLDERS and _fits(name, self.parts[last]):
            return True
        return self.whole and counts_as_picture(name)

    def inside(self, name: str) -> Wanted | None:
        hidden = name.startswith(".")
        reached = set()
        for index in self.positions:
            if self.parts[index] == _ANY_FOLDERS:
                if not hidden:
                    reached.add(index)
            elif _fits(name, self.parts[index]):
                reached.add(index + 1)
        whole = self.whole and not hidden
        return self._at(self.parts, reached, whole=whole) if reached or whole else None


def _fits(name: str, part: str) -> bool:
    return fnmatch.fnmatch(name, part) and (part.startswith(".") or not name.startswith("."))
