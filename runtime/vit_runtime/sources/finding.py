"""Finds every picture that the paths of a command name, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from vit_runtime.sources.folders import EveryPicture, walk
from vit_runtime.sources.source import Found, failure
from vit_runtime.waiting import Waiting


def find(
    paths: Iterable[str], *, most_bytes: int = 256 << 20, stdin: BinaryIO | None = None
) -> Iterator[Found | Waiting]:
    """Gives the pictures that are named by paths, in order."""
    for path in paths:
        yield from _named(path)


def _named(text: str) -> Iterator[Found]:
    path = Path(text)
    if not text or not path.is_dir():
        yield Found(str(path) if text else "", path if text else "")
        return
    nothing = True
    for found in walk(path, EveryPicture()):
        nothing = False
        yield found
    if nothing:
        yield failure(str(path), "a folder without pictures", "give a folder with .jpg or .png files in it")
