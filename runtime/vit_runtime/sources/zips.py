"""Reads the pictures of a zip archive, member after member."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from vit_runtime.errors import ImageError
from vit_runtime.sources.members import Members, too_large
from vit_runtime.sources.source import Found
from vit_runtime.sources.unpacking import (
    Budget,
    Machine,
    Unpacked,
    bzip2_machine,
    cut_off,
    deflate_machine,
    zstd_machine,
)
from vit_runtime.sources.zip_directory import ZipEntry, zip_entries

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_STORED: Final = 0
_METHODS: Final[dict[int, Callable[[], Machine]]] = {8: deflate_machine, 12: bzip2_machine, 93: zstd_machine}


def zip_pictures(file: BinaryIO, size: int, members: Members, budget: Budget) -> Iterator[Found]:
    """Gives the pictures of a zip archive, stored or compressed by deflate, bzip2 or, from Python 3.14, Zstandard.

    A member that is encrypted, damaged, or compressed otherwise becomes a record, and the others are still given. Sizes
    and checksums are compared with what comes out.

    Raises:
        ImageError: the directory is missing or damaged, or the archive unpacks to too much.
    """
    for entry in zip_entries(file, size, members.archive):
        called = members.picture(entry.name) if entry.is_file else None
        if isinstance(called, str):
            try:
                yield Found(called, _member(file, size, entry, called, members.most_bytes, budget))
            except ImageError as error:
                if budget.is_spent:
                    raise
                yield Found(called, b"", error.with_traceback(None))  # it would hold the member's bytes
        elif called is not None:
            yield called


def _member(file: BinaryIO, size: int, entry: ZipEntry, called: str, most: int, budget: Budget) -> bytes:
    if entry.is_encrypted:
        raise ImageError(called, "is encrypted", "unpack the archive")
    if entry.method != _STORED and entry.method not in _METHODS:
        raise ImageError(called, f"is compressed by method {entry.method}, which is not read", "unpack the archive")
    if max(entry.size, entry.packed) > most:
        raise too_large(called, most)
    file.seek(min(entry.place, size))
    local = file.read(_LOCAL.size)
    if len(local) < _LOCAL.size or not local.startswith(b"PK\x03\x04"):
        raise ImageError(called, "is damaged (it is not where the directory says)")
    *_, name_length, extra_length = _LOCAL.unpack(local)
    if file.read(name_length) != entry.raw_name:
        raise ImageError(called, "is damaged (its name differs from the directory's)")
    file.seek(extra_length, 1)
    if file.tell() + entry.packed > size:
        raise cut_off(called)
    content = _content(file, entry, called, budget)
    if len(content) != entry.size or zlib.crc32(content) != entry.crc:
        raise ImageError(called, "is damaged (its size or checksum differs)")
    if not content:
        raise ImageError(called, "empty")
    return content


def _content(file: BinaryIO, entry: ZipEntry, called: str, budget: Budget) -> bytes:
    """Reads a member from its place in the file, at most one byte more than the directory says."""
    left = entry.packed

    def read(count: int) -> bytes:
        nonlocal left
        block = file.read(min(count, left))
        left -= len(block)
        return block

    if entry.method == _STORED:
        budget.spend(left)
        return read(left)
    unpacked = Unpacked(called, read, _METHODS[entry.method], budget, single=True)
    pieces = []
    room = entry.size + 1
    while room and (piece := unpacked.read(room)):
        pieces.append(piece)
        room -= len(piece)
    return b"".join(pieces)
