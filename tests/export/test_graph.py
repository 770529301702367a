"""The written graph: valid ONNX of standard operators, every weight in it and every weight used."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

import vit_runtime as vit
from vit_export.write.blueprint import Blueprint
from vit_export.write.graph import build_graph
from vit_export.write.model_file import ModelFile
from vit_export.write.weights import finite_weights
from vit_runtime.artifact import METADATA_KEY, read_artifact
from vit_runtime.artifact.digest import DIGEST_KEY

LAYERS = 2
OPERATORS = {
    "Reshape": 2 + 4 * LAYERS + 1,  # rows and patches; heads of query, key and value, and back; the embedding
    "Transpose": 1 + 4 * LAYERS,
    "Cast": 1,
    "Pad": 1,
    "Gather": 2,  # the class token in the last block: of the query's input and of the residual stream
    "MatMul": 1 + 8 * LAYERS + 1,  # projection; query, key, value, scores, mix, output, MLP twice; head
    "Add": 2 + (6 + 2) * LAYERS + 1,  # biases, positions, residuals
    "LayerNormalization": 2 * LAYERS + 1,
    "Softmax": LAYERS,
    "Gelu": LAYERS,
}
"""Everything that the formulas name and nothing else: no arithmetic on shapes, which accelerators leave to the CPU."""


@pytest.fixture(scope="module")
def model(tiny_artifact) -> onnx.ModelProto:
    return onnx.load(tiny_artifact)


@pytest.fixture(scope="module")
def arrays(model) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_onnxs_own_checker_finds_nothing(model):
    onnx.checker.check_model(model, full_check=True)


def test_the_operators_are_those_of_the_formulas(model):
    assert Counter(node.op_type for node in model.graph.node) == OPERATORS
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)


def test_nothing_but_a_cast_reads_the_pixels(model):
    """WebGPU has no other operator for uint8, and TensorRT takes it at a cast alone; both would refuse the graph."""
    (cast,) = [node for node in model.graph.node if "pixels" in node.input]
    assert (cast.op_type, cast.attribute[0].i) == ("Cast", TensorProto.FLOAT)


def test_opset_and_ir_version_are_the_lowest_that_have_the_operators(model):
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]
    assert model.ir_version == 9
    youngest = max(onnx.defs.get_schema(node.op_type, 20).since_version for node in model.graph.node)
    assert model.opset_import[0].version == youngest
    assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import)


def test_inputs_and_outputs_are_the_specified_ones_with_a_dynamic_batch(model):
    inputs = [(value.name, value.type.tensor_type.elem_type, dims(value)) for value in model.graph.input]
    outputs = [(value.name, value.type.tensor_type.elem_type, dims(value)) for value in model.graph.output]
    assert inputs == [("pixels", TensorProto.UINT8, ["N", 32, 32, 3])]
    assert outputs == [
        ("logits", TensorProto.FLOAT, ["N", 7]),
        ("embedding", TensorProto.FLOAT, ["N", 128]),
    ]


def test_shape_inference_follows_the_batch_through_the_whole_graph(model):
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {value.name: dims(value) for value in inferred.graph.value_info}
    values = {output for node in model.graph.node for output in node.output} - {"logits", "embedding"}
    assert shapes.keys() == values
    assert {shape[0] for shape in shapes.values()} == {"N"}
    assert shapes["encoder/0/attention/scores"] == ["N", 2, 17, 17]
    # Only the class token leaves the last block, so nothing else asks there.
    assert shapes["encoder/1/attention/scores"] == ["N", 2, 1, 17]
    assert shapes["encoder/1/mlp/gelu"] == ["N", 1, 256]


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_a_picture_gets_the_same_answer_in_any_batch(batch, tiny_artifact, random_pixels):
    vision = vit.load(tiny_artifact)
    pixels = random_pixels(16, 32)
    together = vision.run(pixels[:batch])
    for ours, alone in zip(together, vision.run(pixels[:1]), strict=True):
        assert len(ours) == batch
        np.testing.assert_allclose(ours[:1], alone, rtol=0, atol=1e-5)


def test_node_names_are_unique_paths_and_name_their_output(model):
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert all(list(node.output) == [node.name] for node in model.graph.node)
    path = re.compile(
        r"(patch_embed|encoder/[01](/(attention|mlp))?|head|logits)/[a-z0-9_]+(/[a-z]+)?|embedding|logits"
    )
    assert [name for name in names if not path.fullmatch(name)] == []
    assert {"encoder/0/attention/query", "encoder/1/mlp/hidden/matmul", "patch_embed/tokens"} <= set(names)


def test_every_value_is_used(model, arrays):
    used = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    made = {node.name for node in model.graph.node} | arrays.keys() | {"pixels"}
    assert used == made


def test_weights_that_are_stored_unchanged_keep_their_names(arrays, tiny_state):
    folded = {"class_token", "conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding"}
    unchanged = {name for name in tiny_state if name not in folded and "in_proj" not in name}
    assert len(unchanged) == 2 * 10 + 4
    for name in unchanged:
        linear = tiny_state[name].ndim == 2
        expected = tiny_state[name].numpy()
        np.testing.assert_array_equal(arrays[name], expected.T if linear else expected, err_msg=name)


def test_the_packed_projection_is_split_under_names_of_its_own(arrays, tiny_state):
    key = "encoder.layers.encoder_layer_1.self_attention"
    scale = 0.125  # 1 / sqrt(64), folded into the query; a power of two, hence exact
    weight = np.concatenate([arrays[f"{key}.in_proj.{name}.weight"].T for name in ("query", "key", "value")])
    bias = np.concatenate([arrays[f"{key}.in_proj.{name}.bias"] for name in ("query", "key", "value")])
    weight[:128] /= scale
    bias[:128] /= scale
    np.testing.assert_array_equal(weight, tiny_state[f"{key}.in_proj_weight"].numpy())
    np.testing.assert_array_equal(bias, tiny_state[f"{key}.in_proj_bias"].numpy())


def test_no_weight_is_stored_twice(arrays, tiny_state):
    stored = sum(array.size for array in arrays.values() if array.dtype == np.float32)
    assert stored == sum(tensor.numel() for tensor in tiny_state.values()) - tiny_state["class_token"].numel()
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32), np.dtype(np.int64)}


def test_changing_any_weight_of_the_checkpoint_changes_the_answers(tiny_state, tiny_artifact, folder, random_pixels):
    artifact = read_artifact(tiny_artifact)
    pixels = random_pixels(2, 32)

    def answers(state: dict[str, torch.Tensor]) -> np.ndarray:
        file = ModelFile(folder, "changed.onnx")
        graph = build_graph(
            Blueprint(
                arch=artifact.architecture,
                preprocessing=artifact.preprocessing,
                weights=finite_weights(state, "changed"),
            )
        )
        file.write_graph(graph, written=lambda _bytes: None)
        file.write_metadata(artifact)
        return np.concatenate(vit.load(file.path).run(pixels), axis=1)

    before = answers(tiny_state)
    generator = torch.Generator().manual_seed(0)
    without_effect = []
    for name, tensor in tiny_state.items():
        # Random, since LayerNorm takes away what is added to all of a token alike.
        changed = tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
        if np.abs(answers(tiny_state | {name: changed}) - before).max() < 1e-3:
            without_effect.append(name)
    assert without_effect == []


def test_the_metadata_is_one_document_under_its_own_key(model, tiny_artifact):
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY, DIGEST_KEY]
    assert model.metadata_props[0].value == read_artifact(tiny_artifact).to_json()
    assert model.producer_name == "vit-edge"
