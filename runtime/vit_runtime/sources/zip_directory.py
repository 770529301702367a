"""Reads the directory of a zip archive, entry after entry.

Python's own `zipfile` holds the whole directory in memory, at some 500 bytes a member.

Source of the format: PKWARE, APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from vit_runtime.errors import ImageError

_END: Final = struct.Struct("<4s4H2LH")
"""Signature, disks (2), entries (2), the directory's size and place, length of the comment."""
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
"""Signature, size, versions (2), disks (2), entries (2), the directory's size and place."""
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
"""Signature, versions (2), flags, method, time, date, CRC, sizes (2), lengths of name, extra and comment, disk, kinds
of file (2), place of the member."""
_LONGEST_END: Final = _END.size + 0xFFFF
_UNKNOWN: Final = 0xFFFFFFFF
"""Stands for a number that a 64-bit field tells."""
_ENCRYPTED: Final = 0x2041
"""Flags of encryption: ordinary, strong, and of the directory."""
_UTF_8: Final = 0x800


@dataclass(frozen=True)
class ZipEntry:
    """What the directory says of a member.

    Attributes:
        raw_name: its name as it stands there.
        flags: bits of the format.
        method: how it is compressed.
        crc: the checksum of its bytes.
        packed: how many bytes it takes in the archive.
        size: how many bytes it has.
        place: where it stands in the file.
        mode: Unix's mode; 0 where it is not told.
    """

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    place: int
    mode: int

    @property
    def is_file(self) -> bool:
        """Whether it is an ordinary file, as far as is told."""
        return not self.raw_name.endswith((b"/", b"\\")) and stat.S_IFMT(self.mode) in (0, stat.S_IFREG)

    @property
    def is_encrypted(self) -> bool:
        """Whether its content is."""
        return bool(self.flags & _ENCRYPTED)

    @property
    def name(self) -> str:
        """The name with forward slashes; without a mark it is UTF-8 all the same, mostly, or DOS's code page."""
        try:
            name = self.raw_name.decode("utf-8")
        except UnicodeDecodeError:
            name = self.raw_name.decode("utf-8" if self.flags & _UTF_8 else "cp437", "backslashreplace")
            if self.flags & _UTF_8:  # escapes are no folders
                return name
        return name.replace("\\", "/")  # as some programs on Windows write it


def zip_entries(file: BinaryIO, size: int, archive: str) -> Iterator[ZipEntry]:
    """Gives what the directory of a file of `size` bytes says, entry after entry; the file may be moved meanwhile.

    Raises:
        ImageError: the directory is missing or damaged.
    """
    place, length, shift = _directory(file, size, archive)
    end = place + length
    while place < end:
        file.seek(place)
        fixed = file.read(_ENTRY.size)
        if len(fixed) < _ENTRY.size or not fixed.startswith(b"PK\x01\x02"):
            raise ImageError(archive, "has a damaged directory")
        (_, maker, _, flags, method, _, _, crc, packed, unpacked, *lengths, _, _, kind, at) = _ENTRY.unpack(fixed)
        rest = file.read(sum(lengths))
        place += len(fixed) + len(rest)
        if len(rest) < sum(lengths):
            raise ImageError(archive, "has a damaged directory")
        name, extra = rest[: lengths[0]], rest[lengths[0] : lengths[0] + lengths[1]]
        unpacked, packed, at = _wide((unpacked, packed, at), extra)
        yield ZipEntry(name, flags, method, crc, packed, unpacked, at + shift, kind >> 16 if maker >> 8 == 3 else 0)


def _directory(file: BinaryIO, size: int, archive: str) -> tuple[int, int, int]:
    """Finds the directory: its place, its length, and how many bytes stand before the archive itself."""
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if at < 0:
        raise ImageError(archive, "has no directory at its end", "it is cut off, or no zip archive")
    *_, length, place, _comment = _END.unpack_from(tail, at)
    end = max(0, size - _LONGEST_END) + at
    before = end - _LOCATOR_64.size
    if before >= 0:
        file.seek(before)
        signature, _disk, place_64, _disks = _LOCATOR_64.unpack(file.read(_LOCATOR_64.size))
        if signature == b"PK\x06\x07":
            end = _end_64(file, before, place_64, archive)
            *_, length, place = _END_64.unpack(file.read(_END_64.size))
    shift = end - length - place
    if shift < 0:
        raise ImageError(archive, "has a directory that is larger than itself", "it is damaged")
    return place + shift, length, shift


def _end_64(file: BinaryIO, before: int, place: int, archive: str) -> int:
    """Goes to the 64-bit end of the directory, which stands where it says, or right before its locator."""
    for candidate in (place, before - _END_64.size):
        if 0 <= candidate <= before - _END_64.size:
            file.seek(candidate)
            if file.read(4) == b"PK\x06\x06":
                file.seek(candidate)
                return candidate
    raise ImageError(archive, "has a damaged directory")


def _wide(numbers: tuple[int, int, int], extra: bytes) -> tuple[int, ...]:
    """Replaces the numbers that do not fit into 32 bits by those of the field that holds them."""
    fields = b""
    start = 0
    while start + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, start)
        if tag == 1:
            fields = extra[start + 4 : start + 4 + length]
            break
        start += 4 + length
    wide = iter([number for (number,) in struct.iter_unpack("<Q", fields[: len(fields) // 8 * 8])])
    return tuple(next(wide, number) if number == _UNKNOWN else number for number in numbers)
