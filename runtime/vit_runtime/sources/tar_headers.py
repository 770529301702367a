"""Reads a tar archive's headers, within bounds of memory.

Python's own `tarfile` reads an extended header of any size into memory, and keeps a list of all members.

Source of the formats: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar, "Basic Tar
Format".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from vit_runtime.errors import ImageError
from vit_runtime.sources.unpacking import PIECE, cut_off

_BLOCK: Final = 512
_MOST_EXTENDED: Final = 1 << 20
"""Most bytes of an extended header; a path has at most a few thousand."""
_MOST_BEHIND: Final = 16 << 20
"""Most bytes that are read behind an archive's end, where the checksum of its compression stands."""
_SPARSE: Final = b"S"
_FILES: Final = (b"0", b"\0", b"7", _SPARSE)
_WITHOUT_CONTENT: Final = (b"1", b"2", b"3", b"4", b"5", b"6")
"""Links, devices, folders and pipes; kinds that are not known have content, by POSIX."""
_LONG_NAME: Final = b"L"
_EXTENDED: Final = (b"x", b"X")
_HEADERS: Final = (_LONG_NAME, *_EXTENDED, b"g", b"K")
"""What says something of the next member, of all (g), or of a long link (K)."""


class Stream(Protocol):
    """A file that is read forwards."""

    def read(self, most: int) -> bytes:
        """Gives at most so many bytes, and none at the end."""

    def skip(self, count: int) -> None:
        """Goes forward, at most to the end."""


class Plain:
    """A file without compression: what is skipped is not read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def read(self, most: int) -> bytes:
        """Gives at most so many bytes, and none at the end."""
        return self._file.read(min(most, PIECE))

    def skip(self, count: int) -> None:
        """Goes forward, at most to the end."""
        self._file.seek(min(self._file.tell() + count, self._size))


@dataclass(frozen=True)
class TarMember:
    """What is known of a member before its content is read.

    Attributes:
        name: its name, not yet judged.
        is_file: whether it is an ordinary file.
        is_sparse: whether its content leaves out blocks of zeros.
        size: bytes of content that follow in the archive.
    """

    name: str
    is_file: bool
    is_sparse: bool
    size: int


@dataclass
class _Extension:
    """What headers before a member's own say about it."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


class TarReader:
    """Reads whole blocks from a stream, which can end anywhere."""

    def __init__(self, stream: Stream, archive: str) -> None:
        self._stream = stream
        self._archive = archive
        self._started = False

    def next_member(self) -> TarMember | None:
        """Goes to the next member, whose content must be read or skipped next; None at the archive's end.

        Raises:
            ImageError: the archive is damaged or cut off here. Without a block of zeros at its end it counts as cut
                off.
        """
        extension = _Extension()
        while (header := self._header()) is not None:
            kind = header[156:157]
            size = _number(header[124:136], self._archive) if kind not in _WITHOUT_CONTENT else 0
            if kind not in _HEADERS:
                return self._member(header, size, extension)
            content = self._extended(size)
            if kind == _LONG_NAME:
                extension.name = content.partition(b"\0")[0]
            elif kind in _EXTENDED:
                _extend(extension, content, self._archive)
        return None

    def content(self, size: int) -> bytes:
        """A member's bytes; whoever calls has bounded their number."""
        content = self._take(size)
        self._take(-size % _BLOCK)
        return content

    def skip(self, size: int) -> None:
        """Passes over a member's content."""
        self._stream.skip(size + -size % _BLOCK)

    def _header(self) -> bytes | None:
        """The next header; None at the archive's end."""
        header = self._take(_BLOCK)
        if not any(header):
            self._to_the_end()
            return None
        if not _is_sound(header):
            raise ImageError(self._archive, "has a damaged header" if self._started else "holds no tar archive")
        self._started = True
        return header

    def _member(self, header: bytes, size: int, extension: _Extension) -> TarMember:
        kind = header[156:157]
        name = extension.name or _name(header)
        has_content = kind not in _WITHOUT_CONTENT
        if kind == b"\0" and name.endswith(b"/"):  # how the oldest archives mark folders
            has_content = False
        if has_content and extension.size is not None:
            size = extension.size
        if kind == _SPARSE:
            self._skip_sparse_map(header)
        return TarMember(
            name=name.decode("utf-8", "backslashreplace"),
            is_file=has_content and kind in _FILES,
            is_sparse=kind == _SPARSE or extension.sparse,
            size=size if has_content else 0,
        )

    def _extended(self, size: int) -> bytes:
        """The content of an extended header."""
        if size > _MOST_EXTENDED:
            raise ImageError(self._archive, f"has an extended header of {size:,} bytes")
        return self.content(size)

    def _skip_sparse_map(self, header: bytes) -> None:
        """Passes over the blocks between a sparse file's header and its content."""
        more = header[482]
        while more:
            more = self._take(_BLOCK)[504]

    def _take(self, size: int) -> bytes:
        pieces = []
        left = size
        while left:
            piece = self._stream.read(left)
            if not piece:
                raise cut_off(self._archive)
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _to_the_end(self) -> None:
        left = _MOST_BEHIND
        while left > 0 and (piece := self._stream.read(left)):
            left -= len(piece)


def _is_sound(header: bytes) -> bool:
    """Whether a header's checksum fits: the sum of its bytes with blanks in its own place, signed in some old ones."""
    others = header[:148] + b" " * 8 + header[156:]
    try:
        expected = int(header[148:156].replace(b"\0", b" ").split()[0], 8)
    except (ValueError, IndexError):
        return False
    unsigned = sum(others)
    return expected == unsigned or expected == unsigned - 256 * sum(byte > 127 for byte in others)


def _number(field: bytes, archive: str) -> int:
    """A size: octal digits, or after a byte of 0x80 a binary number."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        size = int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        size = -1
    if size < 0:
        raise ImageError(archive, "has a damaged header")
    return size


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _extend(extension: _Extension, content: bytes, archive: str) -> None:
    """Takes what is needed from records of the form "LENGTH KEY=VALUE" and an end of line."""
    start = 0
    while start < len(content) and content[start]:
        digits, blank, _ = content[start : start + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = content[start + len(digits) + 1 : start + length - 1].partition(b"=")
        if not blank or not equals or length < len(digits) + 3 or start + length > len(content):
            raise ImageError(archive, "has a damaged extended header")
        if key == b"path":
            extension.name = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise ImageError(archive, "has a damaged extended header")
            extension.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            extension.sparse = True
            if key == b"GNU.sparse.name":
                extension.name = value
        start += length
