"""Numbers in a file that ask for too much are refused by our own errors, and in no memory to speak of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import vit_runtime as vit
from vit_runtime.artifact import FORMAT_VERSION
from vit_runtime.artifact.onnx_file import read_metadata

Document = dict[str, Any]
Refusal = Callable[[object], str]
WriteDocument = Callable[[object], Path]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def refused(path: Path) -> str:
    with pytest.raises(vit.ArtifactError) as caught:
        read_metadata(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def whole() -> bytes:
    """A small ONNX file without metadata."""
    return onnx.helper.make_model(onnx.GraphProto(name="empty")).SerializeToString()


@pytest.mark.parametrize("length", [2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**65])
@pytest.mark.parametrize("field", [7, 8, 14, 99], ids=["graph", "opset", "metadata", "unknown"])
def test_lengths_that_no_file_has(length: int, field: int, whole: bytes, tmp_path: Path):
    """2^65 inside a metadata entry was a bare OverflowError, "a bug in vit-edge"."""
    path = tmp_path / "model.onnx"
    path.write_bytes(whole + varint(field << 3 | 2) + varint(length) + b"x")
    assert "incomplete" in refused(path)
    entry = b"\x0a" + varint(length) + b"key"
    path.write_bytes(whole + b"\x72" + varint(len(entry)) + entry)
    assert "incomplete" in refused(path)


@pytest.mark.parametrize("wire_type", [3, 4, 6, 7])
def test_wire_types_that_nobody_writes(wire_type: int, whole: bytes, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(whole + varint(14 << 3 | wire_type) + b"xx")
    assert "incomplete" in refused(path)


def test_metadata_without_bound(whole: bytes, tmp_path: Path):
    """Unbounded in number before, and above 64 MiB passed over without a word."""
    path = tmp_path / "model.onnx"
    many = onnx.ModelProto()
    for index in range(65):
        many.metadata_props.add(key=str(index), value="x")
    path.write_bytes(whole + many.SerializeToString())
    assert "more metadata than 64 entries or 8 MiB" in refused(path)
    large = onnx.ModelProto()
    large.metadata_props.add(key="vit_edge", value="x" * (9 << 20))
    path.write_bytes(whole + large.SerializeToString())
    assert "more metadata than 64 entries or 8 MiB" in refused(path)


def test_an_entry_that_is_there_twice(whole: bytes, tmp_path: Path):
    path = tmp_path / "model.onnx"
    twice = onnx.ModelProto()
    for _ in range(2):
        twice.metadata_props.add(key="vit_edge", value="{}")
    path.write_bytes(whole + twice.SerializeToString())
    assert "two metadata entries of the name 'vit_edge'" in refused(path)


def test_millions_of_tiny_fields(whole: bytes, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(whole + b"\xf8\x07\x05" * 20_000)
    assert "more than 10,000 parts" in refused(path)


@pytest.mark.parametrize(
    ("part", "key", "value", "expected"),
    [
        ("preprocessing", "resize_shortest_edge", 2**31, "sizes should be at most 4096 pixels"),
        ("preprocessing", "resize_shortest_edge", 10**30, "sizes should be at most 4096 pixels"),
        ("preprocessing", "resize_shortest_edge", -1, "sizes should be at least 1 pixel"),
        ("architecture", "image_size", 4096, "should be at most 2048"),
        ("architecture", "classes", 2**40, "classes is 1099511627776, should be at most"),
        ("architecture", "layers", 10**9, "layers is 1000000000, should be at most 1000"),
        ("architecture", "layer_norm_eps", -1.0, "layer_norm_eps is -1.0"),
    ],
)
def test_sizes_that_no_model_has(
    part: str, key: str, value: object, expected: str, document: Document, refusal: Refusal
):
    """`resize_shortest_edge` 2^31 was a bare OverflowError for the first photo."""
    document[part][key] = value
    assert expected in refusal(document)


MEASURED = """
import resource, sys
import vit_runtime as vit
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    vit.read_artifact(sys.argv[1])
except vit.ArtifactError as error:
    print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
"""


@pytest.mark.parametrize(
    "text", ["[]," * 2_700_000, "0," * 4_000_000, '{"a":1},' * 1_000_000], ids=lambda text: text[:3]
)
def test_json_of_eight_megabytes_takes_bounded_memory(text: str, write_document: WriteDocument):
    if sys.platform == "win32":
        pytest.skip("no resource module here")
    path = write_document(json.dumps({"format_version": FORMAT_VERSION})[:-1] + ', "labels": [' + text[:-1] + "]}")
    done = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True)
    outcome, grown = done.stdout.splitlines()
    assert outcome == "refused"
    assert int(grown) < 400_000
