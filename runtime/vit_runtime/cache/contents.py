"""What lies in the cache folder: listing it, and deleting it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vit_runtime.cache.folder import COPIES, ENGINES, PROFILES, cache_folder
from vit_runtime.cache.lock import locked
from vit_runtime.errors import OutputFileError

Kind = Literal["profile", "engines", "prepared copy"]

_ROOMS: Final[dict[str, Kind]] = {PROFILES: "profile", ENGINES: "engines", COPIES: "prepared copy"}
"""Folders in the cache folder; nothing else in it is ours."""
_DIGITS: Final = 32
"""How many digits of a model file's digest name what belongs to it."""
_LARGEST_JSON: Final = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is kept of one kind for one model file."""

    kind: Kind
    file: str
    """Path that the model file had; empty where nothing tells."""
    digest: str
    """The first digits of the digest that the file carries."""
    path: Path
    bytes: int
    """What it takes on the disk."""


def list_cache() -> list[Entry]:
    """Lists everything that is kept, by kind and by file.

    Raises:
        OSError: the cache folder cannot be read.
    """
    entries = [
        Entry(kind=kind, file=_file(path), digest=_digest(path), path=path, bytes=sum(map(_size, _files(path))))
        for room, kind in _ROOMS.items()
        for path in sorted((cache_folder() / room).glob("[0-9a-f]*"))
    ]
    names = {entry.digest: entry.file for entry in entries if entry.file}
    return [Entry(**{**vars(entry), "file": names.get(entry.digest, "")}) for entry in entries]


def clear_cache(digests: list[str] | None = None) -> list[Entry]:
    """Deletes what is kept, and says what that was.

    Args:
        digests: those that the model files carry; None for everything.

    Raises:
        OutputFileError: something cannot be deleted.
    """
    wanted = None if digests is None else {digest[:_DIGITS] for digest in digests}
    entries = [entry for entry in list_cache() if wanted is None or entry.digest in wanted]
    for entry in entries:
        try:
            _delete(entry.path)
        except OSError as error:
            raise OutputFileError(entry.path, f"cannot be deleted ({error.strerror})", "end what uses it") from error
    return entries


def _delete(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    with locked(path):  # waits for a process that is just making it
        shutil.rmtree(path)


def _digest(path: Path) -> str:
    return path.name.partition(".")[0][:_DIGITS]


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        return
    yield from (each for each in (path, *path.rglob("*")) if each.is_file() and not each.is_symlink())


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
        return path.stat().st_size
    return 0


def _file(path: Path) -> str:
    """The model file's path, from a profile or from the record of a copy; empty for what names none."""
    for described in (each for each in _files(path) if each.suffix == ".json"):
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError), described.open("rb") as text:
            if isinstance(file := json.loads(text.read(_LARGEST_JSON)).get("file"), str):
                return file
    return ""
