"""fp16: what overflows there stays in float32, and everything else is a half."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import load_file, save_file

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.artifact import read_artifact
from vit_runtime.devices.session import open_session

LARGEST = 65504
"""fp16's largest number."""
LIMITS = {"logits": 1e-2, "embedding": 1.5e-2}
"""Of a difference from PyTorch, for values up to 4 in size: measured 4.6e-3 and 8.0e-3."""


@pytest.fixture(scope="module", params=["portable", "gpu"])
def target(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def path(target, three_blocks, tmp_path_factory):
    output = tmp_path_factory.mktemp("half")
    return export(ExportRequest(model=str(three_blocks), output=output, precision="fp16", target=target)).path


@pytest.fixture(scope="module")
def types(path) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model, and the element type of every value whose operator is a standard one or made of halves."""
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    known = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.graph.value_info, *model.graph.input, *model.graph.output)
    }
    return model, known | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def inputs_of(types, *operators):
    model, known = types
    nodes = [node for node in model.graph.node if node.op_type in operators]
    return [known.get(name) for node in nodes for name in node.input[: 3 if "Norm" in node.op_type else 2]]


def test_every_weight_of_a_product_is_a_half(types):
    """LayerNorm's, the positions and shapes are not: with them the residual stream stays exact."""
    model, _ = types
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    float32 = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}
    assert all(re.search(r"ln(_[12])?\.(weight|bias)$|^encoder\.pos_embedding$", name) for name in float32)
    halves = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT16}
    assert len(halves) == 2 * (1 + 6 * 3 + 1)
    assert {kind for name, kind in kinds.items() if name not in float32 | halves} == {TensorProto.INT64}


def test_layer_norm_and_softmax_see_float32_and_products_see_halves(types, target):
    assert inputs_of(types, "LayerNormalization") == [TensorProto.FLOAT] * 3 * (2 * 3 + 1)
    softmax = [types[1][node.input[0]] for node in types[0].graph.node if node.op_type == "Softmax"]
    assert softmax == ([TensorProto.FLOAT] * 3 if target == "portable" else [])
    assert set(inputs_of(types, "MatMul")) <= {TensorProto.FLOAT16, None}  # None: behind onnxruntime's own operator
    fused = [node for node in types[0].graph.node if node.op_type == "MultiHeadAttention"]
    assert len(fused) == (0 if target == "portable" else 3)
    assert {types[1][name] for node in fused for name in node.input} <= {TensorProto.FLOAT16}


def test_the_residual_stream_is_float32(types):
    """Every Add that ends a branch; biases are added in halves."""
    model, known = types
    residuals = [node for node in model.graph.node if node.name.endswith("_residual")]
    assert len(residuals) == 2 * 3
    assert {known[name] for node in residuals for name in (*node.input, *node.output)} == {TensorProto.FLOAT}


def test_inputs_and_outputs_are_those_of_every_artifact(path):
    model = onnx.load(path)
    values = [*model.graph.input, *model.graph.output]
    kinds = [(value.name, value.type.tensor_type.elem_type) for value in values]
    assert kinds == [("pixels", TensorProto.UINT8), ("logits", TensorProto.FLOAT), ("embedding", TensorProto.FLOAT)]


def test_the_file_is_half_as_large(path, int8_artifacts):
    # Positions, LayerNorm and the metadata stay as they are; in a model of full size they are less still.
    assert path.stat().st_size < 0.55 * int8_artifacts["fp32"].stat().st_size


def test_the_artifact_says_what_it_is_and_what_was_not_checked(path, target):
    artifact = read_artifact(path)
    assert (artifact.precision, artifact.target, artifact.quantization) == ("fp16", target, None)
    checks = artifact.verification.outputs
    assert [(check.output, check.cosine_limit) for check in checks] == [("logits", 0.999), ("embedding", 0.999)]
    assert artifact.self_test.answers == "export"
    assert ("no CUDA" in artifact.verification.remark) == (target == "gpu")
    assert "fp16 is computed in fp32" in artifact.verification.remark


def test_the_answers_are_pytorchs_to_eleven_bits(path, three_blocks, pytorch, random_pixels):
    pixels = random_pixels(16, 32)
    reference = pytorch.run(pytorch.tiny(load_file(three_blocks), num_layers=3), pytorch.normalise(pixels))
    for name, ours, expected in zip(LIMITS, vit.load(path).run(pixels), reference, strict=True):
        assert np.abs(expected).max() < 4
        assert 0 < np.abs(ours - expected).max() < LIMITS[name]


# Beyond 65504.


def watch(path, *names):
    """A session on a file, with further values as outputs."""
    model = onnx.load(path)
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    watched = path.with_name("watched.onnx")
    onnx.save(model, watched)
    return open_session(watched, provider="cpu").session


def test_a_residual_stream_beyond_fp16_does_not_overflow(target, three_blocks, folder, pytorch, random_pixels):
    """As massive activations do: one channel of a few tokens, far larger than all others."""
    state = load_file(three_blocks)
    state["encoder.pos_embedding"][0, :, 5] += 3 * LARGEST
    state["encoder.layers.encoder_layer_0.mlp.3.bias"][9] = LARGEST / 2
    state["encoder.layers.encoder_layer_1.mlp.3.bias"][9] = LARGEST - 100
    save_file(state, folder / "massive.safetensors")
    request = ExportRequest(model=str(folder / "massive.safetensors"), output=folder, precision="fp16", target=target)
    path = export(request).path
    pixels = random_pixels(4, 32)
    residual, logits, embedding = watch(path, "encoder/1/mlp_residual").run(
        ["encoder/1/mlp_residual", "logits", "embedding"], {"pixels": pixels}
    )
    assert np.abs(residual[..., 5]).min() > LARGEST
    assert np.abs(residual[..., 9]).min() > LARGEST
    reference = pytorch.run(pytorch.tiny(state, num_layers=3), pytorch.normalise(pixels))
    for name, ours, expected in zip(LIMITS, (logits, embedding), reference, strict=True):
        assert np.isfinite(ours).all()
        # The embedding's own size decides: LayerNorm leaves two channels of 10 and little of the others.
        assert np.abs(ours - expected).max() < LIMITS[name] * max(1, np.abs(expected).max() / 4)


@pytest.mark.parametrize("name", ["encoder.layers.encoder_layer_1.mlp.0.weight", "heads.head.bias", "conv_proj.weight"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_beyond_fp16_is_refused_in_one_line(
    name, sign, target, three_blocks, folder, files_in, vit_export_cli
):
    state = load_file(three_blocks)
    # The patch projection is stored divided by 255 and the standard deviation of its colour.
    state[name].view(-1)[3] = sign * (LARGEST + 32) * (255 if "conv" in name else 1)
    save_file(state, folder / "large.safetensors")
    words = ["--precision", "fp16", "--target", target, "-o", folder / "out.onnx"]
    result = vit_export_cli(folder / "large.safetensors", *words)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert re.fullmatch(
        rf"error: {re.escape(name.rpartition('.')[0])}: holds values above 65504, .*; export it in fp32", line
    )
    assert files_in(folder) == ["large.safetensors"]


def test_the_largest_half_itself_is_taken(target, three_blocks, folder):
    state = load_file(three_blocks)
    state["heads.head.bias"][3] = LARGEST
    save_file(state, folder / "edge.safetensors")
    request = ExportRequest(model=str(folder / "edge.safetensors"), output=folder, precision="fp16", target=target)
    path = export(request).path
    logits = vit.load(path).run(np.zeros((1, 32, 32, 3), np.uint8))[0]
    assert logits[0, 3] == pytest.approx(LARGEST, rel=2**-11)


def test_torch_is_no_judge_of_its_own_halves():
    """The limits above are of the size that rounding weights to 11 bits makes: not room for an error to hide in."""
    assert LIMITS["logits"] < 4 * 8 * torch.finfo(torch.float16).eps
