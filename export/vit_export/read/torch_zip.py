"""Finds out how a PyTorch file is packed, before PyTorch reads it.

Since PyTorch 1.6 such a file is a zip file with the pickle in `data.pkl` and each tensor's numbers in an entry of its
own. Python's reader of zip files and PyTorch's own must see the same entries: where they could differ, the file is
refused.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from vit_export.errors import CheckpointError
from vit_runtime.errors import one_line

_END: Final = struct.Struct("<4s4H2LH")
"""End of central directory: signature, disks, entries, size and offset of the directory, length of a comment."""
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_ALL_ONES: Final = 0xFFFFFFFF
"""Stands in place of a size or offset that only the record of 64 bits holds."""
_MOST_INFLATED: Final = 4
"""Limit for the unpacked size, as a multiple of the file's: trained weights hardly shrink at all."""
_FILLS_MEMORY: Final = b"\nbytearray\n"
"""A pickle's name for `bytearray`, the one function PyTorch lets it call that can fill any amount of memory."""
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Packing:
    """What is known of a file before it is read."""

    stored: bool
    """Whether tensors can be mapped in place. PyTorch would map compressed entries too, and take their bytes for
    weights."""
    room: int
    """Bytes that the file holds when it is unpacked."""


def packing(path: Path, remedy: str) -> Packing:
    """Finds out how a file is packed.

    Raises:
        CheckpointError: the file is a damaged or ambiguous zip file, inflates too far, or would fill memory when read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):  # PyTorch's format before 1.6 cannot be mapped
                return _plain(file, path, size, remedy)
            _check_directory(file, size)
            with zipfile.ZipFile(file) as archive:
                return _zipped(archive, path, size, remedy)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile may raise anything on a damaged file
        what = f"damaged zip file ({one_line(error)})"
        raise CheckpointError(path, what, f"copy it again, or {remedy}") from error


def _plain(file: BinaryIO, path: Path, size: int, remedy: str) -> Packing:
    file.seek(0)
    before = b""
    while block := file.read(_BLOCK):
        _check_pickle(before + block, path, remedy)
        before = block[-len(_FILLS_MEMORY) :]
    return Packing(stored=False, room=size)


def _zipped(archive: zipfile.ZipFile, path: Path, size: int, remedy: str) -> Packing:
    entries = archive.infolist()
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    room = size if stored else sum(entry.file_size for entry in entries)
    if room > _MOST_INFLATED * size:
        raise CheckpointError(path, f"would inflate from {size:,} to {room:,} bytes", remedy)
    for entry in entries:
        if entry.filename.endswith(".pkl"):
            _check_pickle(archive.read(entry), path, remedy)
    return Packing(stored=stored, room=room)


def _check_pickle(content: bytes, path: Path, remedy: str) -> None:
    if _FILLS_MEMORY in content:
        raise CheckpointError(path, "holds more than weights (bytearray)", remedy)


def _check_directory(file: BinaryIO, size: int) -> None:
    """Checks that the directory lies right in front of the end record, as that record states: all readers then agree.

    Python's reader takes the directory that lies in front of the end record, PyTorch's the one at the stated place.

    Raises:
        BadZipFile: the directory lies elsewhere, or something follows the end record.
    """
    place = size - _END.size
    file.seek(place)
    signature, *_, length, offset, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or comment:
        raise zipfile.BadZipFile("something follows its end")
    file.seek(max(0, place - _LOCATOR_64.size))
    locator = file.read(_LOCATOR_64.size)
    if locator[:4] == b"PK\x06\x07":
        stated = (length, offset)
        place -= _LOCATOR_64.size + _END_64.size
        file.seek(max(0, place))
        signature, *_, length, offset = _END_64.unpack(file.read(_END_64.size))
        if signature != b"PK\x06\x06" or _LOCATOR_64.unpack(locator)[2] != place:
            raise zipfile.BadZipFile("its end record is elsewhere than it says")
        if any(short not in (_ALL_ONES, long) for short, long in zip(stated, (length, offset), strict=True)):
            raise zipfile.BadZipFile("its two end records differ")
    if offset + length != place:
        raise zipfile.BadZipFile("its directory is elsewhere than it says")
