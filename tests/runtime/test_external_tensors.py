"""Weights lie where the metadata says: anything else is refused, on every onnxruntime, before it opens the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array

Edit = Callable[..., Path]
Seal = Callable[[bytes], bytes]


def outside(location: str) -> Callable[[onnx.GraphProto], None]:
    """Lets the first large weight lie in another file."""

    def run(graph: onnx.GraphProto) -> None:
        tensor = max(graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": str(len(values))}.items():
            tensor.external_data.add(key=key, value=value)

    return run


def refused(path: Path) -> str:
    with pytest.raises(vit.ArtifactError) as caught:
        vit.load(path, threads=1)
    with pytest.raises(vit.ArtifactError):
        vit.read_artifact(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "secret", "edited.onnx", "", "a/../../secret", "..\\secret", "C:\\secret", "sec\0ret"],
)
def test_weights_that_the_metadata_does_not_tell_of(location: str, edit_artifact: Edit, tmp_path: Path):
    """onnxruntime 1.20.1 read `../secret`, and `vit-run check` passed."""
    (tmp_path / "secret").write_bytes(bytes(1 << 20))
    assert "its metadata says that there is none" in refused(edit_artifact(graph=outside(location)))


def test_external_data_without_a_location(edit_artifact: Edit):
    def run(graph: onnx.GraphProto) -> None:
        graph.initializer[0].data_location = TensorProto.EXTERNAL

    assert "names weights in ''" in refused(edit_artifact(graph=run))


@dataclass(frozen=True)
class Large:
    """An artifact with its weights in a file of their own, and the way to write it anew."""

    path: Path
    weights: Path
    seal: Seal

    def rewrite(
        self,
        document: Callable[[dict[str, Any]], object] = lambda _: None,
        model: Callable[[onnx.ModelProto], object] = lambda _: None,
    ) -> None:
        loaded = onnx.load(self.path, load_external_data=False)
        entries = {entry.key: entry.value for entry in loaded.metadata_props}
        parsed = json.loads(entries["vit_edge"])
        document(parsed)
        helper.set_model_props(loaded, {"vit_edge": json.dumps(parsed)})
        model(loaded)
        self.path.write_bytes(self.seal(loaded.SerializeToString()))


@pytest.fixture
def large(large_artifact: Path, tmp_path: Path, seal: Seal) -> Large:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in large_artifact.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    path = folder / large_artifact.name
    return Large(path, path.with_name(f"{path.name}.data"), seal)


def test_weights_where_the_metadata_says(large: Large, tiny: vit.ViT, picture: UInt8Array):
    model = vit.load(large.path, threads=1, verify=True)
    np.testing.assert_allclose(model.embed(picture), tiny.embed(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize("file", ["../../../etc/passwd", "/etc/passwd", "..", ".", "", "a\\b", "a:b", "a\0b"])
def test_the_metadata_itself_names_no_folder(file: str, large: Large):
    """Before, the size of the named file was asked for and told."""
    large.rewrite(document=lambda document: document["external_data"].update(file=file))
    assert "is no plain file name" in refused(large.path)


def test_a_second_file_that_the_metadata_does_not_tell_of(large: Large):
    def run(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
        tensor.external_data[0].value = "other.data"

    large.weights.with_name("other.data").write_bytes(large.weights.read_bytes())
    large.rewrite(model=run)
    assert "names weights in 'other.data', and its metadata says big.onnx.data" in refused(large.path)


def test_a_link_to_elsewhere(large: Large, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere.data"
    large.weights.rename(elsewhere)
    large.weights.symlink_to(elsewhere)
    assert f"is a link to {elsewhere}" in refused(large.path)


def test_links_as_a_hubs_cache_has_them(large: Large, tmp_path: Path):
    """Both files are links there, to one folder that holds the contents under their digests."""
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for file in (large.path, large.weights):
        (snapshot / file.name).symlink_to(os.path.relpath(file, snapshot))
    assert vit.check(vit.load(snapshot / large.path.name, threads=1)).passed


def a_function() -> onnx.FunctionProto:
    node = helper.make_node("Relu", ["x"], ["y"])
    return helper.make_function("custom", "MyRelu", ["x"], ["y"], [node], [helper.make_opsetid("", 20)])


def with_attribute(**attributes: object) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.node.append(helper.make_node("Constant", [], ["extra"], **attributes))


TENSOR = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
ADDITIONS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "functions": lambda model: model.functions.append(a_function()),
    "training": lambda model: model.training_info.add(),
    "sparse tensors": lambda model: model.graph.sparse_initializer.add(),
    "a tensor inside a node": with_attribute(value=TENSOR),
    "a graph inside a node": with_attribute(body=onnx.GraphProto(name="inner")),
    "a compiled model": lambda model: model.graph.node.append(helper.make_node("EPContext", [], ["extra"])),
}


@pytest.mark.parametrize("what", ADDITIONS)
def test_what_could_hide_a_tensor_is_refused(what: str, large: Large):
    large.rewrite(model=ADDITIONS[what])
    assert f"holds {what}, which no artifact does" in refused(large.path)
