"""A graph that takes or gives something else than its metadata says is refused when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array

Edit = Callable[..., Path]


def rename_input(graph: onnx.GraphProto) -> None:
    graph.input[0].name = "image"
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == "pixels":
                node.input[index] = "image"


def swap_outputs(graph: onnx.GraphProto) -> None:
    logits, embedding = graph.output
    del graph.output[:]
    graph.output.extend([embedding, logits])


def drop_output(graph: onnx.GraphProto) -> None:
    del graph.output[-1]


def another_input(graph: onnx.GraphProto) -> None:
    graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    graph.node.append(helper.make_node("Identity", ["more"], ["unused"]))


def fixed_batch_of_two(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (rename_input, "its graph takes image uint8 (N, 32, 32, 3), and its metadata says pixels uint8 (N, 32, 32, 3)"),
        (swap_outputs, "its graph gives embedding float (N, 128), logits float (N, 7), and its metadata says logits"),
        (drop_output, "its graph gives logits float (N, 7), and its metadata says logits float (N, 7), embedding"),
        (another_input, "its graph takes pixels uint8 (N, 32, 32, 3), more float (1)"),
        (fixed_batch_of_two, "its graph takes pixels uint8 (2, 32, 32, 3)"),
    ],
)
def test_a_graph_that_is_not_what_its_metadata_says(
    change: Callable[[onnx.GraphProto], None], expected: str, edit_artifact: Edit
):
    """Before, `load` took it and `run` advised "where memory is short, give fewer pictures"."""
    with pytest.raises(vit.ArtifactError) as caught:
        vit.load(edit_artifact(graph=change), threads=1)
    assert expected in str(caught.value)


def test_metadata_of_another_size_than_the_graph(edit_artifact: Edit):
    def wider(document: dict[str, dict[str, object]]) -> None:
        document["architecture"] |= {"image_size": 64, "patch_size": 16}
        document["preprocessing"]["crop_hw"] = [64, 64]

    with pytest.raises(vit.ArtifactError, match=r"takes pixels uint8 \(N, 32, 32, 3\), and its metadata says pixels"):
        vit.load(edit_artifact(document=wider), threads=1)


def test_a_graph_that_announces_one_shape_and_gives_another(edit_artifact: Edit, picture: UInt8Array):
    """Each picture's logits twice: N is free, so only the answer shows it."""

    def double(graph: onnx.GraphProto) -> None:
        logits = next(output for output in graph.output if output.name == "logits")
        for node in graph.node:
            node.output[:] = ["once" if name == "logits" else name for name in node.output]
        graph.node.append(helper.make_node("Concat", ["once", "once"], ["logits"], axis=0))
        logits.type.tensor_type.shape.dim[0].dim_param = "M"

    model = vit.load(edit_artifact(graph=double), threads=1)
    with pytest.raises(vit.ArtifactError, match=r"gave logits as float32 \(2, 7\) where float32 \(1, 7\) belongs"):
        model.classify(picture)
    assert model.embed(picture).dtype == np.float32
