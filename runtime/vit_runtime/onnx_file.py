"""Reads the metadata of an ONNX file without the onnx package and without loading the weights.

An ONNX file is one protobuf message, `ModelProto` (onnx.proto of the ONNX project). Its top-level fields are
walked one by one, and everything but `metadata_props` is skipped by its length: reading the metadata of a
file of gigabytes takes well under a millisecond, and works where the graph itself could not be loaded.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Final

from vit_runtime.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

_GRAPH: Final = 7
_OPSET_IMPORT: Final = 8
_METADATA_PROPS: Final = 14
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10
_MAX_METADATA_BYTES: Final = 64 << 20
_NOT_ONNX = "not an ONNX file"
_INCOMPLETE = "incomplete"


class _MalformedError(Exception):
    """The bytes are not a protobuf message of the expected form; the text says how."""


def read_metadata(path: Path) -> dict[str, str]:
    """The `metadata_props` of an ONNX file.

    Raises:
        ArtifactError: the file is missing, is no ONNX file, or ends before it should.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            metadata = _walk_model(file, size)
    except FileNotFoundError:
        raise ArtifactError(path, "no such file", "make one with: vit-export vit_b_16") from None
    except IsADirectoryError:
        raise ArtifactError(path, "is a folder", "name the .onnx file inside it") from None
    except OSError as error:
        raise ArtifactError(path, f"cannot be read ({error.strerror})") from error
    except _MalformedError as error:
        raise ArtifactError(path, str(error), "copy or export the file again") from error
    except ValueError as error:  # a name that no file can have
        raise ArtifactError(ascii(str(path)), f"cannot be read ({error})") from error
    return metadata


def _walk_model(file: BinaryIO, size: int) -> dict[str, str]:
    """Walks the fields of a `ModelProto` of `size` bytes; returns its metadata."""
    metadata: dict[str, str] = {}
    seen: set[int] = set()
    try:
        while file.tell() < size:
            field, wire_type = _read_tag(file)
            if wire_type != _LENGTH_DELIMITED:
                _skip_number(file, wire_type)
                continue
            length = _read_varint(file)
            if file.tell() + length > size:
                missing = file.tell() + length - size
                raise _MalformedError(
                    f"{_INCOMPLETE}: the file ends {missing:,} bytes too early" if field == _GRAPH else _NOT_ONNX
                )
            seen.add(field)
            if field == _METADATA_PROPS and length <= _MAX_METADATA_BYTES:
                key, value = _parse_string_pair(file.read(length))
                metadata[key] = value
            else:
                file.seek(length, 1)
    except _MalformedError as error:
        if _GRAPH in seen:
            raise _MalformedError(_INCOMPLETE) from error
        raise
    if _GRAPH not in seen:
        raise _MalformedError("empty file" if size == 0 else _NOT_ONNX)
    if _OPSET_IMPORT not in seen:  # every model has one, and exporters write it behind the graph
        raise _MalformedError(_INCOMPLETE)
    return metadata


def _skip_number(file: BinaryIO, wire_type: int) -> None:
    if wire_type == _VARINT:
        _read_varint(file)
    else:
        file.seek(8 if wire_type == _FIXED64 else 4, 1)


def _read_tag(file: BinaryIO) -> tuple[int, int]:
    tag = _read_varint(file)
    field, wire_type = tag >> 3, tag & 7
    if field == 0 or wire_type not in (_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32):
        raise _MalformedError(_NOT_ONNX)
    return field, wire_type


def _read_varint(file: BinaryIO) -> int:
    value = 0
    for position in range(_MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            raise _MalformedError(_NOT_ONNX)
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:
            return value
    raise _MalformedError(_NOT_ONNX)


def _parse_string_pair(entry: bytes) -> tuple[str, str]:
    """Parses a `StringStringEntryProto`: field 1 is the key, field 2 the value."""
    file = BytesIO(entry)
    pair = {1: "", 2: ""}
    while file.tell() < len(entry):
        field, wire_type = _read_tag(file)
        if wire_type != _LENGTH_DELIMITED or field not in pair:
            raise _MalformedError(_NOT_ONNX)
        try:
            pair[field] = file.read(_read_varint(file)).decode()
        except UnicodeDecodeError as error:
            raise _MalformedError(_NOT_ONNX) from error
    return pair[1], pair[2]
