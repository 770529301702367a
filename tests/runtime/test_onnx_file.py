"""The metadata reader agrees with the onnx package, and refuses whatever is no whole ONNX file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import read_artifact
from vit_runtime.artifact.onnx_file import read_metadata
from vit_runtime.errors import ArtifactError

Encode = Callable[..., bytes]


def small_model(metadata: dict[str, str], **fields: object) -> onnx.ModelProto:
    """y = x + 1, with whatever else a `ModelProto` can hold."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy")
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "graph", [x], [y], [one])
    model = helper.make_model(graph, **fields)
    helper.set_model_props(model, metadata)
    return model


def a_function() -> onnx.FunctionProto:
    node = helper.make_node("Relu", ["x"], ["y"])
    return helper.make_function("custom", "MyRelu", ["x"], ["y"], [node], [helper.make_opsetid("", 20)])


MODELS = {
    "bare": small_model({}),
    "one entry": small_model({"vit_edge": "{}"}),
    "several entries": small_model({"author": "Zoë", "vit_edge": '{"a": 1}', "empty": "", "long": "x" * 300_000}),
    "another producer": small_model(
        {"key": "value"},
        producer_name="pytorch",
        producer_version="2.8.0",
        domain="org.example",
        model_version=2**40,
        doc_string="two\nlines",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
    ),
    "with a function": small_model({"key": "value"}, functions=[a_function()]),
}


def onnx_metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_metadata(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_metadata_of_the_tiny_artifact_is_what_onnx_reads(tiny_artifact: Path):
    assert read_metadata(tiny_artifact) == onnx_metadata(tiny_artifact)
    assert "vit_edge" in read_metadata(tiny_artifact)


@pytest.mark.parametrize("name", MODELS)
def test_metadata_of_other_models_is_what_onnx_reads(name: str, tmp_path: Path):
    path = tmp_path / "model.onnx"
    onnx.save(MODELS[name], path)
    assert read_metadata(path) == onnx_metadata(path)


def test_fields_may_come_in_any_order_and_unknown_ones_are_skipped(tmp_path: Path):
    """Protobuf promises no order; newer versions of ONNX add fields."""
    path = tmp_path / "model.onnx"
    varint, fixed64, fixed32, text = b"\xf8\x07\x05", b"\xf9\x07" + bytes(8), b"\xfd\x07" + bytes(4), b"\xfa\x07\x01x"
    metadata = onnx.ModelProto(metadata_props=[onnx.StringStringEntryProto(key="key", value="value")])
    rest = small_model({}).SerializeToString()
    path.write_bytes(metadata.SerializeToString() + varint + fixed64 + rest + fixed32 + text)
    assert read_metadata(path) == onnx_metadata(path) == {"key": "value"}


@settings(max_examples=50, deadline=None)
@given(metadata=st.dictionaries(st.text(), st.text(), max_size=4))
def test_any_text_comes_back(metadata: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "any_text.onnx"
    onnx.save(small_model(metadata), path)
    assert read_metadata(path) == metadata


def test_a_missing_file_says_how_to_make_one(tmp_path: Path):
    message = refusal(tmp_path / "missing.onnx")
    assert "no such file" in message
    assert "vit-export" in message


def test_a_folder(tmp_path: Path):
    assert "is a folder" in refusal(tmp_path)


def test_a_name_that_no_file_can_have():
    with pytest.raises(ArtifactError, match="null"):
        read_metadata(Path("null\0byte.onnx"))


@pytest.fixture
def others(tmp_path: Path, tiny_checkpoint: Path, picture: UInt8Array, encode: Encode) -> dict[str, bytes]:
    """Files of other kinds, which people have given to programs like this one."""
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.pkl", b"a PyTorch checkpoint is a zip file")
    return {
        "a JPEG": encode(picture, "JPEG"),
        "a PNG": encode(picture, "PNG"),
        "a zip file": archive.read_bytes(),
        "a safetensors checkpoint": tiny_checkpoint.read_bytes(),
        "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n",
        "JSON": b'{"format_version": 1}',
        "zeros": bytes(1000),
        "random bytes": np.random.default_rng(seed=0).bytes(1000),
    }


def test_files_of_other_kinds_are_not_onnx_files(others: dict[str, bytes], tmp_path: Path):
    path = tmp_path / "model.onnx"
    for kind, content in others.items():
        path.write_bytes(content)
        assert "not an ONNX file" in refusal(path), kind


def test_an_empty_file(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    assert "empty file" in refusal(path)


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(content: bytes, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(content)
    assert outcome(path) in ("read", "refused in 1 line")


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 149), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_model_is_refused_or_read(changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory):
    content = bytearray(small_model({"key": "välue", "other": "text"}).SerializeToString())
    for position, value in changes:
        content[position % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    assert outcome(path) in ("read", "refused in 1 line")


def outcome(path: Path) -> str:
    try:
        metadata = read_metadata(path)
    except ArtifactError as error:
        return f"refused in {len(str(error).splitlines())} line"
    texts = all(isinstance(text, str) for entry in metadata.items() for text in entry)
    return "read" if texts else "not text"


@pytest.fixture(scope="module")
def layout(tiny_artifact: Path) -> tuple[bytes, int, int]:
    """The tiny artifact's bytes, where its weights end, and where its metadata starts."""
    content = tiny_artifact.read_bytes()
    model = onnx.load(tiny_artifact)
    metadata = onnx.ModelProto(metadata_props=model.metadata_props).ByteSize()
    opset = onnx.ModelProto(opset_import=model.opset_import).ByteSize()
    return content, len(content) - metadata - opset, len(content) - metadata


def test_a_file_that_is_cut_off_in_the_graph_is_incomplete(layout: tuple[bytes, int, int], tmp_path: Path):
    content, end_of_graph, _ = layout
    path = tmp_path / "cut.onnx"
    path.write_bytes(content)
    for length in [*range(end_of_graph - 1, 400, -9973), *range(400, 20, -1)]:
        os.truncate(path, length)
        with pytest.raises(ArtifactError, match="incomplete"):
            read_artifact(path)


def test_a_file_that_is_cut_off_behind_the_graph_is_incomplete(layout: tuple[bytes, int, int], tmp_path: Path):
    """Just before the metadata it is a whole ONNX file of someone else's: nothing tells the difference."""
    content, end_of_graph, metadata_start = layout
    path = tmp_path / "cut.onnx"
    path.write_bytes(content)
    wrong = {}
    for length in range(len(content) - 1, end_of_graph - 1, -1):
        os.truncate(path, length)
        with pytest.raises(ArtifactError) as caught:
            read_artifact(path)
        if "incomplete" not in str(caught.value) and length != metadata_start:
            wrong[length - metadata_start] = str(caught.value)
    assert wrong == {}


def test_a_file_that_is_cut_off_at_its_very_start_is_refused(layout: tuple[bytes, int, int], tmp_path: Path):
    path = tmp_path / "cut.onnx"
    for length in range(20):
        path.write_bytes(layout[0][:length])
        refusal(path)
