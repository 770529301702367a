"""Writes a graph to disk as it is made: one weight in memory at a time, and nothing left behind on failure.

The onnx package would build the whole model in memory and serialise it into a second copy. Here the small parts
are serialised by onnx, and the weights are framed by hand between them (protobuf: a field is its tag, its length,
its bytes). The metadata comes last, so that what the verification measured is appended without writing the
weights again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnx import GraphProto, ModelProto, TensorProto, helper

from vit_export.write.builder import CONTRIB_DOMAIN, CONTRIB_OPSET, IR_VERSION, OPSET, GraphBuilder, Initializer
from vit_runtime.artifact import METADATA_KEY, TEXT_KEY, Artifact, ExternalData, TextArtifact
from vit_runtime.artifact.digest import digest_entry
from vit_runtime.errors import option
from vit_runtime.files import OutputFile, blame, staging_folder

if TYPE_CHECKING:
    from typing_extensions import Buffer

PROTOBUF_LIMIT: Final = 2**31 - 1
"""Largest size of a protobuf message in bytes, and so of an ONNX file."""
ROOM_FOR_GRAPH: Final = 64 << 20
_INLINE_BYTES: Final = 1024
"""Weights up to this size stay in the ONNX file: shapes and indices that the engine reads when it loads."""
_ALIGNMENT: Final = 65536
"""Weights in a file of their own start at multiples of this, so that every system can map them into memory."""
_GRAPH_FIELD, _INITIALIZER_FIELD, _RAW_DATA_FIELD = 7, 5, 9
_LENGTH_DELIMITED = 2

Written = Callable[[int], None]


class ModelFile:
    """An ONNX file under construction, in a temporary folder beside its destination."""

    def __init__(self, folder: Path, name: str, destination: Path | None = None) -> None:
        """Takes the folder to write in, and the destination where the file is to go later, for messages."""
        self.path = folder / name
        self.data_path = folder / f"{name}.data"
        self.external_data: ExternalData | None = None
        self._destination = destination or self.path
        self._end_of_graph = 0
        self._graph_digest = hashlib.sha256()
        self._domains: list[str] = []

    def write_graph(self, graph: GraphBuilder, *, written: Written, limit: int = PROTOBUF_LIMIT) -> None:
        """Writes nodes and weights; weights above `limit` bytes go to a file of their own.

        Args:
            graph: what the builder has recorded.
            written: told the number of bytes after each weight.
            limit: the largest size of the ONNX file, in bytes.
        """
        self._domains = graph.domains
        self.external_data = None
        external = sum(weight.nbytes for weight in graph.weights) > limit - ROOM_FOR_GRAPH
        tensors = _lay_out(graph.weights, self.data_path.name if external else None)
        body = GraphProto(name="vit", node=graph.nodes, input=graph.inputs, output=graph.outputs).SerializeToString()
        with self._new(self.path) as file:
            file.write(ModelProto(ir_version=IR_VERSION, producer_name="vit-edge").SerializeToString())
            file.write(_tag(_GRAPH_FIELD) + _varint(len(body) + sum(_framed(tensor.size) for tensor in tensors)))
            file.write(body)
            for tensor in tensors:
                file.write(_tag(_INITIALIZER_FIELD) + _varint(tensor.size) + tensor.header)
                if tensor.offset is None:
                    file.write(_tag(_RAW_DATA_FIELD) + _varint(tensor.weight.nbytes))
                    file.write(tensor.weight.array().data)
                    written(tensor.weight.nbytes)
            self._end_of_graph, self._graph_digest = file.tell(), file.sha256
        if external:
            self._write_external(tensors, written)

    def write_metadata(self, artifact: Artifact | TextArtifact) -> None:
        """Appends the opsets, the metadata and the digest behind the graph, in place of those written before."""
        key = TEXT_KEY if isinstance(artifact, TextArtifact) else METADATA_KEY
        self._write_tail({key: artifact.to_json()})

    def close_graph(self) -> None:
        """Appends the opsets alone: a graph without metadata, for the exporter's own use."""
        self._write_tail({})

    def _write_tail(self, metadata: dict[str, str]) -> None:
        versions = {"": OPSET, CONTRIB_DOMAIN: CONTRIB_OPSET}
        tail = ModelProto(opset_import=[helper.make_opsetid(domain, versions[domain]) for domain in self._domains])
        helper.set_model_props(tail, metadata)
        content = tail.SerializeToString()
        if metadata:
            digest = self._graph_digest.copy()
            digest.update(content)
            content += digest_entry(digest.hexdigest())
        with blame(self._destination, _remedy()), self.path.open("r+b") as file:
            file.seek(self._end_of_graph)
            file.truncate()
            file.write(content)

    def _write_external(self, tensors: list[_Tensor], written: Written) -> None:
        with self._new(self.data_path) as file:
            for tensor in tensors:
                if tensor.offset is not None:
                    file.write(bytes(tensor.offset - file.tell()))
                    file.write(tensor.weight.array().data)
                    written(tensor.weight.nbytes)
            self.external_data = ExternalData(
                file=self.data_path.name, bytes=file.tell(), sha256=file.sha256.hexdigest()
            )

    def _new(self, path: Path) -> _DigestedFile:
        path.unlink(missing_ok=True)  # left by an earlier trial
        return _DigestedFile(path, self._destination, _remedy())


class _DigestedFile(OutputFile):
    """A new file that keeps the SHA-256 of what is written to it."""

    def __init__(self, path: Path, destination: Path, remedy: str) -> None:
        super().__init__(path, destination, remedy)
        self.sha256 = hashlib.sha256()

    def write(self, data: Buffer, /) -> int:
        """Appends all of `data`."""
        self.sha256.update(data)
        return super().write(data)


@dataclass(frozen=True)
class _Tensor:
    """A weight, its `TensorProto` without the values, and the place where the values go."""

    weight: Initializer
    header: bytes
    offset: int | None
    """Where the values start in the file of weights; None inside the ONNX file."""

    @property
    def size(self) -> int:
        """Bytes of the whole `TensorProto`."""
        return len(self.header) + (_framed(self.weight.nbytes) if self.offset is None else 0)


@contextmanager
def new_model_files(destinations: Sequence[Path]) -> Iterator[list[ModelFile]]:
    """Opens files that appear at their destinations, all of them, if the block ends well; if it fails, none does.

    Raises:
        OutputFileError: a destination cannot be written, or the disk is full.
    """
    with ExitStack() as stack:
        files: list[ModelFile] = []
        for destination in destinations:
            with blame(destination, _remedy()):
                destination.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(staging_folder(destination, _remedy()))
            files.append(ModelFile(folder, destination.name, destination))
        yield files
        _publish_all(files, destinations)


def _remedy() -> str:
    return f"choose another {option('output')}"


def _publish_all(files: Sequence[ModelFile], destinations: Sequence[Path]) -> None:
    """Moves finished files to their places; if one cannot be moved, those that are new are deleted again.

    A file that has replaced another one stays: it is as complete and as verified as the others.
    """
    new: list[Path] = []
    try:
        for file, destination in zip(files, destinations, strict=True):
            if not destination.exists():
                new.append(destination)
            with blame(destination, _remedy()):
                _publish(file, destination)
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.data").unlink(missing_ok=True)
        raise


def _publish(file: ModelFile, destination: Path) -> None:
    """Moves the finished files to their place; an ONNX file in place is always complete and has its own weights."""
    data_destination = destination.with_name(file.data_path.name)
    if file.external_data is not None:
        destination.unlink(missing_ok=True)  # an old ONNX file would read the new weights
        file.data_path.replace(data_destination)
    file.path.replace(destination)
    if file.external_data is None:
        data_destination.unlink(missing_ok=True)  # weights of a larger model that was here before


def _lay_out(weights: list[Initializer], data_file: str | None) -> list[_Tensor]:
    """Decides where each weight goes: inside the ONNX file, or into `data_file` where there is one."""
    tensors: list[_Tensor] = []
    end = 0
    for weight in weights:
        header = TensorProto(
            name=weight.name, dims=weight.shape, data_type=helper.np_dtype_to_tensor_dtype(weight.dtype)
        )
        offset = None
        if data_file is not None and weight.nbytes > _INLINE_BYTES and not weight.inline:
            offset = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = offset + weight.nbytes
            header.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data_file), ("offset", offset), ("length", weight.nbytes)):
                header.external_data.add(key=key, value=str(value))
        tensors.append(_Tensor(weight, header.SerializeToString(), offset))
    return tensors


def _framed(size: int) -> int:
    """Bytes that a length-delimited field of `size` bytes takes; the field numbers used have tags of one byte."""
    return 1 + len(_varint(size)) + size


def _tag(field: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED)


def _varint(value: int) -> bytes:
    """Writes an integer as protobuf does: seven bits a byte, low ones first, the top bit set on all but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
