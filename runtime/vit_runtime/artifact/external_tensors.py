"""Checks where an ONNX file's tensors say that their values lie, before any engine opens the file.

A tensor may name another file for its values. Old versions of onnxruntime read any file that is named there, even
`../../secrets`, and a library that follows a symbolic link would too. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vit_runtime.artifact.onnx_file import GRAPH_FIELD, OnnxFile, open_onnx
from vit_runtime.artifact.protobuf import LENGTH_DELIMITED, Field, FileBytes, MalformedError, fields, text
from vit_runtime.errors import ArtifactError

if TYPE_CHECKING:
    from vit_runtime.artifact import ExternalData

_TRAINING_INFO, _FUNCTIONS = 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_NODE_OP_TYPE, _NODE_ATTRIBUTE = 4, 5
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_ATTRIBUTE_TENSORS_AND_GRAPHS: Final = {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "tensor", 23: "tensor"}
_READS_OTHER_FILES: Final = "EPContext"
"""onnxruntime's operator for a compiled model, which may lie in any file that the node names."""
_REMEDY: Final = "do not use this file; export the model again"


def check_weights_file(path: Path, data: ExternalData | None) -> None:
    """Checks that the file of weights beside an ONNX file is there and complete.

    Args:
        path: the ONNX file.
        data: the file of weights that the metadata states; None where it states none.

    Raises:
        ArtifactError: it is missing, of another size, or a link to elsewhere.
    """
    if data is not None:
        _check_link(path, data.file)
        _check_size(path, data)


def check_tensors(path: Path, data: ExternalData | None) -> None:
    """Walks the graph, in some milliseconds, and checks that no tensor lies elsewhere than the metadata says.

    Args:
        path: the ONNX file.
        data: the file of weights beside it that the metadata states; None where it states none.

    Raises:
        ArtifactError: a tensor names another file, or the file holds parts that no artifact has: tensors or graphs
            inside nodes, sparse tensors, functions, training, compiled models.
    """
    weights = None if data is None else data.file
    with open_onnx(path) as file:
        try:
            for location in _locations(file, path):
                if location != weights:
                    expected = "says that there is none" if weights is None else f"says {weights}"
                    found = f"names weights in {location[:80]!r}, and its metadata {expected}"
                    raise ArtifactError(path, found, _REMEDY)
        except MalformedError as error:
            raise ArtifactError(path, f"damaged graph ({error})", "copy or export the file again") from error


def _check_link(path: Path, weights: str) -> None:
    """Refuses a link to another folder than the artifact's.

    If the artifact is a link itself, as in a hub's cache, the folder that it leads to is allowed too.
    """
    remedy = "put the file itself beside the model"
    try:
        target = (path.parent / weights).resolve()
        folders = (path.parent.resolve(), path.resolve().parent)
    except (OSError, RuntimeError) as error:  # links in a circle; which error depends on Python's version
        raise ArtifactError(path.parent / weights, f"is a link that leads nowhere ({error})", remedy) from error
    if target.parent not in folders:
        raise ArtifactError(path.parent / weights, f"is a link to {target}", remedy)


def _check_size(path: Path, data: ExternalData) -> None:
    weights = path.parent / data.file
    try:
        found = weights.stat().st_size if weights.is_file() else None
    except OSError as error:
        raise ArtifactError(weights, f"cannot be read ({error.strerror})", "copy it again") from error
    if found is None:
        raise ArtifactError(weights, f"missing: it holds the weights of {path.name}", "copy it to the same folder")
    if found != data.bytes:
        raise ArtifactError(
            weights,
            f"has {found:,} bytes where {data.bytes:,} belong",
            f"copy it again, together with {path.name}",
        )


def _locations(file: OnnxFile, path: Path) -> Iterator[str]:
    """Gives, for each tensor whose values lie outside the ONNX file, the name of the file that holds them."""
    for part in file.fields:
        if part.number in (_TRAINING_INFO, _FUNCTIONS):
            kind = "functions" if part.number == _FUNCTIONS else "training"
            raise ArtifactError(path, f"holds {kind}, which no artifact does", _REMEDY)
        if part.number != GRAPH_FIELD:
            continue
        for field in _nested(file.data, part):
            if field.number == _GRAPH_INITIALIZER:
                yield from _locations_of(file.data, field)
            elif field.number == _GRAPH_NODE:
                _check_node(file.data, field, path)
            elif field.number == _GRAPH_SPARSE_INITIALIZER:
                raise ArtifactError(path, "holds sparse tensors, which no artifact does", _REMEDY)


def _locations_of(data: FileBytes, tensor: Field) -> Iterator[str]:
    external, names = False, []
    for field in _nested(data, tensor):
        if field.number == _TENSOR_DATA_LOCATION:
            external = external or field.value != 0
        elif field.number == _TENSOR_EXTERNAL_DATA:
            external = True
            entry = {part.number: text(data, part) for part in _nested(data, field)}
            if entry.get(1) == "location":
                names.append(entry.get(2, ""))
    if external:
        yield from names or [""]


def _check_node(data: FileBytes, node: Field, path: Path) -> None:
    for field in _nested(data, node):
        if field.number == _NODE_OP_TYPE and text(data, field) == _READS_OTHER_FILES:
            raise ArtifactError(path, "holds a compiled model, which no artifact does", _REMEDY)
        if field.number != _NODE_ATTRIBUTE:
            continue
        for part in _nested(data, field):
            if (kind := _ATTRIBUTE_TENSORS_AND_GRAPHS.get(part.number)) is not None:
                raise ArtifactError(path, f"holds a {kind} inside a node, which no artifact does", _REMEDY)


def _nested(data: FileBytes, field: Field) -> Iterator[Field]:
    if field.wire_type != LENGTH_DELIMITED:
        raise MalformedError(f"field {field.number} is no message")
    return fields(data, field.start, field.end)
