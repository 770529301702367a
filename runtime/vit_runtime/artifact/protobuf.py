"""Walks the fields of a protobuf message in a file, without a schema and without reading the bytes that it skips.

The wire format is https://protobuf.dev/programming-guides/encoding/. Bytes that do not follow it are refused. So are
bytes that readers could take in different ways: onnxruntime keeps 32 bits of a longer tag, where other readers see
another field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}
_MOST_BYTES_OF_TAG: Final = 5
_MOST_BYTES_OF_NUMBER: Final = 10
_LARGEST_TAG: Final = 2**32 - 1
_LARGEST_LENGTH: Final = 2**31 - 1
_HEAD: Final = _MOST_BYTES_OF_TAG + _MOST_BYTES_OF_NUMBER
"""Most bytes that a tag and the number or length behind it take."""
_WINDOW: Final = 1 << 13
"""Bytes that are read at a time: a node takes some hundred."""


class MalformedError(Exception):
    """The bytes are no protobuf message."""


class OverrunError(MalformedError):
    """A field reaches beyond the end of its message."""

    def __init__(self, number: int, missing: int) -> None:
        super().__init__(f"field {number} reaches {missing:,} bytes too far")
        self.number = number
        self.missing = missing


class Field(NamedTuple):
    """One field of a message; a tuple for speed, since a graph has thousands and each loading walks them all."""

    number: int
    wire_type: int
    begin: int
    """Where the field's tag starts in the file."""
    start: int
    """Where the field's content starts; a length-delimited one has a message, a text or bytes from `start` to `end`."""
    end: int
    value: int
    """The number that a varint field holds; 0 for other fields."""


class FileBytes:
    """A file's bytes, by their place. They are read, not mapped: a mapped file that is cut off ends the process."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self._file = file
        self._window = b""
        self._begin = 0

    def read(self, start: int, end: int) -> bytes:
        """Reads the bytes from `start` to `end`.

        Raises:
            MalformedError: the file has become shorter, or cannot be read.
        """
        offset = start - self._begin
        if offset < 0 or end - self._begin > len(self._window):
            try:
                self._file.seek(start)
                self._window, self._begin, offset = self._file.read(max(end - start, _WINDOW)), start, 0
            except OSError as error:  # the disk failed
                raise MalformedError(f"cannot be read: {error.strerror}") from error
            if len(self._window) < end - start:
                raise MalformedError("the file has become shorter")
        return self._window[offset : offset + end - start]


def fields(data: FileBytes, start: int, end: int) -> Iterator[Field]:
    """Gives the fields of the message that lies from `start` to `end`, one after the other.

    Raises:
        OverrunError: a field reaches beyond `end`.
        MalformedError: the bytes are no protobuf message.
    """
    place = start
    while place < end:
        head = data.read(place, min(place + _HEAD, end))
        tag, used = _varint(head, 0, _MOST_BYTES_OF_TAG, _LARGEST_TAG)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError("field 0")
        value = length = 0
        if wire_type == VARINT:
            value, used = _varint(head, used, _MOST_BYTES_OF_NUMBER, 2**64 - 1)
        elif wire_type == LENGTH_DELIMITED:
            length, used = _varint(head, used, _MOST_BYTES_OF_TAG, _LARGEST_LENGTH)
        elif wire_type in _FIXED_BYTES:
            length = _FIXED_BYTES[wire_type]
        else:
            raise MalformedError(f"wire type {wire_type}")
        after = place + used + length
        if after > end:
            raise OverrunError(number, after - end)
        yield Field(number, wire_type, place, place + used, after, value)
        place = after


def text(data: FileBytes, field: Field) -> str:
    """Reads a length-delimited field as text.

    Raises:
        MalformedError: the field is of another type, or is no UTF-8.
    """
    if field.wire_type != LENGTH_DELIMITED:
        raise MalformedError(f"field {field.number} is no text")
    try:
        return data.read(field.start, field.end).decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"field {field.number} is no UTF-8") from error


def _varint(head: bytes, place: int, most_bytes: int, largest: int) -> tuple[int, int]:
    """Reads an unsigned number, and gives it with the place behind it."""
    value = 0
    for count in range(most_bytes):
        if place >= len(head):
            raise MalformedError("ends in a number")
        byte = head[place]
        place += 1
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if value > largest:
                break
            return value, place
    raise MalformedError(f"a number above {largest}")
