"""Walks the fields of a protobuf message in a buffer, without a schema and without copying.

The wire format is https://protobuf.dev/programming-guides/encoding/. Whatever does not follow it is refused, and so is
a length that reaches beyond its message: protobuf's own parsers refuse it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import Final, NamedTuple, TypeAlias

Buffer: TypeAlias = "bytes | mmap"

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES: Final = 10


class MalformedError(Exception):
    """The bytes are no protobuf message."""


class OverrunError(MalformedError):
    """A field reaches beyond the end of its message."""

    def __init__(self, number: int, missing: int) -> None:
        super().__init__(f"field {number} reaches {missing:,} bytes too far")
        self.number = number
        self.missing = missing


class Field(NamedTuple):
    """One field of a message; a tuple, since a graph has thousands and is walked each time a model is loaded."""

    number: int
    wire_type: int
    begin: int
    """Where its tag starts in the buffer."""
    start: int
    """Where its content starts; `start` to `end` is a nested message, a text or bytes if it is length-delimited."""
    end: int
    value: int
    """The number, where it is a varint; else 0."""


def fields(data: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies from `start` to `end`, one after the other.

    Raises:
        OverrunError: a field reaches beyond `end`.
        MalformedError: the bytes are no protobuf message.
    """
    place = start
    while place < end:
        begin = place
        tag = data[place]
        if tag < 0x80:
            place += 1
        else:
            tag, place = _varint(data, place, end)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError("field 0")
        value = 0
        if wire_type == VARINT:
            value, after = _varint(data, place, end)
        elif wire_type == LENGTH_DELIMITED:
            length, place = (
                _varint(data, place, end) if place == end or data[place] > 0x7F else (data[place], place + 1)
            )
            after = place + length
        elif wire_type in _FIXED_BYTES:
            after = place + _FIXED_BYTES[wire_type]
        else:
            raise MalformedError(f"wire type {wire_type}")
        if after > end:
            raise OverrunError(number, after - end)
        yield Field(number, wire_type, begin, place, after, value)
        place = after


def text(data: Buffer, field: Field) -> str:
    """A length-delimited field as text.

    Raises:
        MalformedError: it is of another type, or no UTF-8.
    """
    if field.wire_type != LENGTH_DELIMITED:
        raise MalformedError(f"field {field.number} is no text")
    try:
        return data[field.start : field.end].decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"field {field.number} is no UTF-8") from error


def _varint(data: Buffer, place: int, end: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, and the place behind it."""
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if place >= end:
            raise MalformedError("ends in a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise MalformedError("a number of more than 64 bits")
