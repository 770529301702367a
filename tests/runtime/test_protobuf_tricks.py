"""Spellings that readers of protobuf take differently: what one passes over, another takes for a weight's file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.artifact.digest import digest_entry
from vit_runtime.artifact.onnx_file import open_onnx
from vit_runtime.artifact.protobuf import MalformedError

Edit = Callable[..., Path]

INITIALIZER, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 5, 9, 13, 14


def varint(value: int, *, padded_to: int = 0) -> bytes:
    out = bytearray()
    while value > 0x7F or len(out) + 1 < padded_to:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, wire_type: int, content: bytes, *, high: int = 0, padded_to: int = 0) -> bytes:
    """A field whose tag has bits above the 32 that onnxruntime keeps, or more bytes than it needs."""
    tag = varint(high << 32 | number << 3 | wire_type, padded_to=padded_to)
    return tag + (varint(len(content)) if wire_type == 2 else b"") + content


def hidden_tensor(model: onnx.ModelProto, **spelling: int) -> bytes:
    """The model with its first weights in `secret.bin`, said in fields that are spelled so."""
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 1000)
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    entries = {"location": "secret.bin", "offset": "0", "length": str(size)}
    pairs = [onnx.StringStringEntryProto(key=key, value=value).SerializeToString() for key, value in entries.items()]
    outside = field(DATA_LOCATION, 0, varint(1), **spelling)
    outside += b"".join(field(EXTERNAL_DATA, 2, pair, **spelling) for pair in pairs)
    content = tensor.SerializeToString() + outside
    model.graph.initializer.remove(tensor)
    graph = model.graph.SerializeToString() + field(INITIALIZER, 2, content)
    model.ClearField("graph")
    entries_of_model = list(model.metadata_props)
    del model.metadata_props[:]
    rest = model.SerializeToString()
    model.metadata_props.extend(entry for entry in entries_of_model if entry.key == "vit_edge")
    metadata = onnx.ModelProto(metadata_props=model.metadata_props).SerializeToString()
    return field(7, 2, graph) + rest + metadata


def sealed(content: bytes) -> bytes:

    return content + digest_entry(hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    "spelling",
    [{}, {"high": 1}, {"high": 7}, {"padded_to": 3}, {"padded_to": 5}, {"padded_to": 6}, {"padded_to": 10}],
    ids=str,
)
def test_weights_elsewhere_are_seen_however_they_are_spelled(
    spelling: dict[str, int], tiny_artifact: Path, tmp_path: Path
):
    """With tags of more than 32 bits onnxruntime read `secret.bin`, and the digest and the self-test passed."""
    path = tmp_path / "model.onnx"
    path.write_bytes(sealed(hidden_tensor(onnx.load(tiny_artifact), **spelling)))
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 20))
    with pytest.raises(vit.ArtifactError, match=r"names weights in 'secret\.bin'|damaged graph"):
        vit.read_artifact(path)


@pytest.mark.parametrize("tag", [varint(1 << 32 | 14 << 3 | 2), varint(14 << 3 | 2, padded_to=6)], ids=["high", "long"])
def test_tags_of_the_model_itself(tag: bytes, tiny_artifact: Path, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_artifact.read_bytes() + tag + b"\x00")
    with pytest.raises(vit.ArtifactError, match="incomplete"):
        vit.read_artifact(path)


def test_a_length_that_takes_more_bytes_than_readers_agree_on(tiny_artifact: Path, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_artifact.read_bytes() + varint(99 << 3 | 2) + varint(0, padded_to=6))
    with pytest.raises(vit.ArtifactError, match="incomplete"):
        vit.read_artifact(path)


def test_a_file_that_gets_shorter_while_it_is_read(tiny_artifact: Path, tmp_path: Path):
    """As a mapped file it ended the process with a signal."""

    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_artifact.read_bytes())
    with open_onnx(path) as file:
        path.write_bytes(b"")
        with pytest.raises(MalformedError, match="the file has become shorter"):
            file.data.read(0, 100)


def test_a_pipe_is_no_artifact(tmp_path: Path):
    """Opening one waited for a writer, for ever."""

    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(vit.ArtifactError, match="no ordinary file"):
        vit.read_artifact(tmp_path / "model.onnx")


def test_answers_that_are_no_numbers_are_no_answer(edit_artifact: Edit):
    def poison(graph: onnx.GraphProto) -> None:
        (bias,) = (tensor for tensor in graph.initializer if tensor.name == "heads.head.bias")
        bias.raw_data = b"\x00\x00\xc0\x7f" * 7

    model = vit.load(edit_artifact(graph=poison), threads=1)
    with pytest.raises(vit.ArtifactError, match="answers with NaN or infinity"):
        model.classify(Image.new("RGB", (40, 40)))
