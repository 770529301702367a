"""Reads the tokenizer out of a text tower's file: `tokenizer.json`, compressed, in an initializer that no node reads.

It is too large for the metadata, whose size is bounded for all files. What a hostile file can make this take is bounded
by the document, and the document by its schema: 16 MiB of the file, 64 MiB unpacked.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Final

from vit_runtime.artifact.onnx_file import GRAPH_FIELD, OnnxFile, open_onnx
from vit_runtime.artifact.protobuf import LENGTH_DELIMITED, Field, MalformedError, fields, text
from vit_runtime.artifact.text_document import TokenizerFacts
from vit_runtime.errors import ArtifactError

TOKENIZER: Final = "tokenizer"
"""Name of the initializer."""
_GRAPH_INITIALIZER, _TENSOR_NAME, _TENSOR_RAW_DATA = 5, 8, 9
_LONGEST_NAME: Final = 1 << 10
_REMEDY: Final = "do not use this file; export the model again"


def pack(document: bytes) -> bytes:
    """Compresses `tokenizer.json` for the graph."""
    return zlib.compress(document, level=9)


def read_tokenizer(path: Path, facts: TokenizerFacts) -> bytes:
    """Gives `tokenizer.json`, as it was exported.

    Raises:
        ArtifactError: there is none, or it has another size or digest than the document says.
    """
    with open_onnx(path) as file:
        try:
            packed = _packed(file, facts, path)
        except MalformedError as error:
            raise ArtifactError(path, f"damaged graph ({error})", "copy or export the file again") from error
    unpacking = zlib.decompressobj()
    try:
        document = unpacking.decompress(packed, facts.json_bytes + 1)
    except zlib.error as error:
        raise ArtifactError(path, f"its tokenizer is damaged ({error})", _REMEDY) from error
    if len(document) != facts.json_bytes or not unpacking.eof or unpacking.unused_data:
        raise ArtifactError(path, f"its tokenizer is not of {facts.json_bytes:,} bytes, as it says", _REMEDY)
    if hashlib.sha256(document).hexdigest() != facts.sha256:
        raise ArtifactError(path, "its tokenizer has another SHA-256 than it says", _REMEDY)
    return document


def _packed(file: OnnxFile, facts: TokenizerFacts, path: Path) -> bytes:
    found = [
        tensor
        for graph in file.fields
        if graph.number == GRAPH_FIELD
        for tensor in fields(file.data, graph.start, graph.end)
        if tensor.number == _GRAPH_INITIALIZER and _name(file, tensor) == TOKENIZER
    ]
    if len(found) != 1:
        raise ArtifactError(path, f"holds {len(found) or 'no'} tokenizers", _REMEDY)
    contents = [part for part in _parts(file, found[0]) if part.number == _TENSOR_RAW_DATA]
    if len(contents) != 1 or contents[0].end - contents[0].start != facts.packed_bytes:
        raise ArtifactError(
            path, f"its tokenizer is not of {facts.packed_bytes:,} compressed bytes, as it says", _REMEDY
        )
    return file.data.read(contents[0].start, contents[0].end)


def _name(file: OnnxFile, tensor: Field) -> str:
    for part in _parts(file, tensor):
        if part.number == _TENSOR_NAME and part.end - part.start <= _LONGEST_NAME:
            return text(file.data, part)
    return ""


def _parts(file: OnnxFile, tensor: Field) -> list[Field]:
    if tensor.wire_type != LENGTH_DELIMITED:
        raise MalformedError(f"field {tensor.number} is no message")
    found = []
    for part in fields(file.data, tensor.start, tensor.end):
        found.append(part)
        if len(found) > _LONGEST_NAME:
            raise MalformedError("a tensor of many parts")
    return found
