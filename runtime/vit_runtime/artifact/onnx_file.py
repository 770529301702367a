"""Finds the parts of an ONNX file and reads its metadata, without the onnx package and without loading the weights.

An ONNX file is one protobuf message, `ModelProto` (onnx.proto of the ONNX project). Its fields are walked one by one,
and fields that are not wanted are skipped by their length. So reading the metadata of a file of gigabytes takes well
under a millisecond, and works even where the graph itself could not be loaded.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_runtime.artifact.protobuf import LENGTH_DELIMITED, Field, FileBytes, MalformedError, OverrunError, fields, text
from vit_runtime.errors import ArtifactError

GRAPH_FIELD: Final = 7
METADATA_FIELD: Final = 14
_OPSET_IMPORT: Final = 8
_MOST_METADATA_BYTES: Final = 8 << 20
"""Limit for all entries together: ImageNet-21k's labels take 0.6 MB, and parsed JSON takes up to twenty times its
text."""
_MOST_ENTRIES: Final = 64
_MOST_FIELDS: Final = 10_000
"""Limit for the outermost message: our files have five fields and a few operator sets."""
_NOT_ONNX = "not an ONNX file"
_INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class OnnxFile:
    """An open ONNX file, and where its parts are."""

    data: FileBytes
    metadata: dict[str, str]
    """The `metadata_props` of the file, values by key."""
    fields: tuple[Field, ...]
    """The fields of the `ModelProto`, in the order of the file."""

    @property
    def last(self) -> Field:
        """The field that the file ends with."""
        return self.fields[-1]


class _UnfitError(Exception):
    """The file cannot be an artifact; the text says why."""


@contextlib.contextmanager
def open_onnx(path: Path) -> Iterator[OnnxFile]:
    """Opens an ONNX file and finds its parts.

    Raises:
        ArtifactError: the file is missing, is no ONNX file, ends before it should, or has more metadata than an
            artifact can have.
    """
    with contextlib.ExitStack() as opened:
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise _UnfitError("no ordinary file")  # opening a pipe that nobody writes to would wait forever
            file = opened.enter_context(path.open("rb"))
            parts = _walk_model(FileBytes(file, os.fstat(file.fileno()).st_size))
        except FileNotFoundError:
            raise ArtifactError(path, "no such file", "make one with: vit-export vit_b_16") from None
        except IsADirectoryError:
            raise ArtifactError(path, "is a folder", "name the .onnx file inside it") from None
        except OSError as error:
            raise ArtifactError(path, f"cannot be read ({error.strerror})") from error
        except _UnfitError as error:
            raise ArtifactError(path, str(error), "copy or export the file again") from error
        except ValueError as error:  # a name that no file can have
            raise ArtifactError(ascii(str(path)), f"cannot be read ({error})") from error
        yield parts


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the `metadata_props` of an ONNX file, values by key.

    Raises:
        ArtifactError: for the same reasons as in `open_onnx`.
    """
    with open_onnx(path) as file:
        return file.metadata


def _walk_model(data: FileBytes) -> OnnxFile:
    """Finds the fields of a `ModelProto` and reads its metadata.

    Raises:
        _UnfitError: the file is no `ModelProto`, or is incomplete, or has too much metadata.
    """
    found: list[Field] = []
    try:
        found.extend(_counted(fields(data, 0, data.size)))
    except MalformedError as error:
        if isinstance(error, OverrunError) and error.number == GRAPH_FIELD:
            raise _UnfitError(f"{_INCOMPLETE}: the file ends {error.missing:,} bytes too early") from error
        seen = any(field.number == GRAPH_FIELD for field in found)
        raise _UnfitError(_INCOMPLETE if seen else _NOT_ONNX) from error
    numbers = {field.number for field in found}
    if GRAPH_FIELD not in numbers:
        raise _UnfitError(_NOT_ONNX if data.size else "empty file")
    if _OPSET_IMPORT not in numbers:  # every model has one, and exporters write it behind the graph
        raise _UnfitError(_INCOMPLETE)
    return OnnxFile(data, _metadata(data, found), tuple(found))


def _counted(walk: Iterator[Field]) -> Iterator[Field]:
    """Refuses a file of millions of tiny fields before a list of them fills the memory."""
    for count, field in enumerate(walk):
        if count == _MOST_FIELDS:
            raise _UnfitError(f"more than {_MOST_FIELDS:,} parts")
        yield field


def _metadata(data: FileBytes, found: Iterable[Field]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    entries = [field for field in found if field.number == METADATA_FIELD]
    if len(entries) > _MOST_ENTRIES or sum(field.end - field.start for field in entries) > _MOST_METADATA_BYTES:
        raise _UnfitError(f"more metadata than {_MOST_ENTRIES} entries or {_MOST_METADATA_BYTES >> 20} MiB")
    for entry in entries:
        try:
            key, value = _text_pair(data, entry)
        except MalformedError as error:
            raise _UnfitError(_INCOMPLETE) from error
        if key in metadata:
            raise _UnfitError(f"two metadata entries of the name {key[:40]!r}")
        metadata[key] = value
    return metadata


def _text_pair(data: FileBytes, entry: Field) -> tuple[str, str]:
    """Parses a `StringStringEntryProto`: field 1 is the key, field 2 the value."""
    if entry.wire_type != LENGTH_DELIMITED:
        raise MalformedError("no entry")
    pair = {1: "", 2: ""}
    for field in fields(data, entry.start, entry.end):
        if field.number not in pair:
            raise MalformedError(f"field {field.number} in an entry")
        pair[field.number] = text(data, field)
    return pair[1], pair[2]
