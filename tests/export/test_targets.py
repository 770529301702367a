"""Targets: which operators a file is made of, and that other runtimes agree about it."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, numpy_helper
from safetensors.torch import load_file

import vit_runtime as vit
from vit_export import ExportRequest, PreprocessingOptions, export
from vit_runtime.artifact import read_artifact
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.session import Overrides, open_session
from vit_runtime.pictures.preprocess import load_pixels

SLOWER = "this processor has no VNNI: exact but slower int8 kernels; "
"""What stands in front on some processors."""
BLOCKS = 3
QUANTIZED = 1 + 6 * BLOCKS
"""Linear layers in int8: all but the head."""
BY_ENGINE = 6 + 2 * (BLOCKS - 1)
"""Those whose input OpenVINO quantizes by itself: all of the first block, then those behind attention and GELU."""
ACTIVATIONS = {"portable": 1 + 4 * BLOCKS + 1, "openvino": 1 + 2 * (BLOCKS - 1) + 1}
"""Activations with a scale in the file; the last block's query reads its own."""
OPERATORS = {
    "Cast": 1,
    "Reshape": 2 + 4 * BLOCKS + 1,
    "Transpose": 1 + 4 * BLOCKS,
    "Pad": 1,
    "Gather": 2,
    "DequantizeLinear": QUANTIZED,  # of the weights
    "MatMul": QUANTIZED + 2 * BLOCKS + 1,
    "Add": QUANTIZED + 1 + 2 * BLOCKS + 1,
    "LayerNormalization": 2 * BLOCKS + 1,
    "Softmax": BLOCKS,
    "Gelu": BLOCKS,
}


def compiled_by_openvino(path, *, int8_kernels: bool) -> openvino.CompiledModel:
    """By OpenVINO's own CPU plugin; f32: where the processor has it, the plugin would take bf16.

    Without its int8 kernels it computes what QuantizeLinear and DequantizeLinear say, in float32. With them sums of
    products are cut off at 16 bits on x86 processors without VNNI: a test of the file would be one of the machine.
    """
    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "LP_TRANSFORMS_MODE": "YES" if int8_kernels else "NO",
        # Else, on processors with VNNI, activations in front of int8 weights would be quantized once more, by groups.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    return core.compile_model(core.read_model(path), "CPU", options)


def openvino_answers(path, pixels: np.ndarray, *, int8_kernels: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embedding."""
    compiled = compiled_by_openvino(path, int8_kernels=int8_kernels)
    results = compiled({"pixels": pixels})
    return results["logits"], results["embedding"]


SHIFTS = {"portable": 1 + BLOCKS, "openvino": 0}
"""How often something is taken off before a value is quantized: 128 of the pixels, half its range of GELU."""


@pytest.fixture(scope="module", params=SHIFTS)
def target(request) -> str:
    """A target whose int8 is of QuantizeLinear and DequantizeLinear."""
    return request.param


@pytest.fixture(scope="module")
def model(int8_artifacts, target) -> onnx.ModelProto:
    return onnx.load(int8_artifacts[target])


@pytest.fixture(scope="module")
def arrays(model) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


# int8 in standard operators.


def test_int8_is_of_standard_operators_only(model, target):
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]
    assert {node.domain for node in model.graph.node} == {""}
    quantized = {"QuantizeLinear": ACTIVATIONS[target], "DequantizeLinear": ACTIVATIONS[target], "Sub": SHIFTS[target]}
    assert Counter(node.op_type for node in model.graph.node) == Counter(OPERATORS) + Counter(quantized)


def test_onnxs_own_checker_finds_nothing(int8_artifacts):
    for kind, path in int8_artifacts.items():
        if kind in (*SHIFTS, "fp32"):
            onnx.checker.check_model(str(path), full_check=True)


def test_activations_have_one_scale_each_and_the_targets_zero_point(model, arrays, target):
    """TensorRT takes zero points of zero, OpenVINO's fast kernels uint8; neither takes a scale that is computed."""
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for node in pairs:
        _, scale, zero_point = node.input
        assert arrays[scale].shape == ()
        assert arrays[scale] > 0
        assert arrays[zero_point].dtype == {"portable": np.int8, "openvino": np.uint8}[target]
        assert target == "openvino" or arrays[zero_point] == 0
        (back,) = [other for other in model.graph.node if other.input[0] == node.output[0]]
        assert (back.op_type, list(back.input[1:])) == ("DequantizeLinear", [scale, zero_point])


def test_weights_are_symmetric_int8_with_a_scale_a_channel(model, arrays):
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in arrays]
    assert len(weights) == QUANTIZED
    for node in weights:
        weight, scale, zero_point = (arrays[name] for name in node.input)
        assert weight.dtype == np.int8
        assert weight.min() >= -127
        assert [attribute.i for attribute in node.attribute if attribute.name == "axis"] == [1]
        assert scale.shape == (weight.shape[1],)
        assert (scale > 0).all()
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        (reader,) = [other for other in model.graph.node if node.output[0] in other.input]
        assert reader.op_type == "MatMul"


def test_every_quantized_layer_reads_int8_weights_and_a_quantized_input_or_leaves_it_to_openvino(model, target):
    makes = {node.output[0]: node.op_type for node in model.graph.node}
    factors = Counter(
        tuple(makes.get(name, "weight") for name in node.input) for node in model.graph.node if node.op_type == "MatMul"
    )
    by_engine = {
        "portable": {},
        "openvino": {
            ("LayerNormalization", "DequantizeLinear"): 4,  # query, key, value and the MLP of the first block
            ("Reshape", "DequantizeLinear"): BLOCKS,
            ("Gelu", "DequantizeLinear"): BLOCKS,
        },
    }[target]
    assert factors == {
        ("DequantizeLinear", "DequantizeLinear"): QUANTIZED - sum(by_engine.values()),
        **by_engine,
        ("Transpose", "Transpose"): BLOCKS,
        ("Softmax", "Transpose"): BLOCKS,
        ("LayerNormalization", "weight"): 1,
    }


def test_the_pixels_lose_nothing(model, arrays, target):
    assert arrays["scale/patch_embed/input"] == 1
    (first,) = [
        node for node in model.graph.node if "scale/patch_embed/input" in node.input[:2] and node.op_type[0] == "Q"
    ]
    taken_off = arrays.get("shift/patch_embed/input", 0)
    assert (taken_off, arrays[first.input[2]]) == {"portable": (128, 0), "openvino": (0, 0)}[target]


def test_onnxruntimes_cpu_provider_is_said_to_be_the_wrong_place(int8_artifacts):
    notes = {kind: vit.load(path, provider="cpu").note.removeprefix(SLOWER) for kind, path in int8_artifacts.items()}
    assert notes.pop("portable").startswith("this file is for TensorRT; ")
    assert notes.pop("openvino").startswith("this file is for OpenVINO ")
    assert not any("this file is for" in note for note in notes.values())


IN_FLOAT = {"session.qdq_matmulnbits_accuracy_level": "1"}
"""onnxruntime multiplies int8 weights in float too, and does not quantize what it multiplies them with."""


def test_openvino_and_onnxruntime_agree(int8_artifacts, target, random_pixels):
    pixels = random_pixels(16, 32)
    ours = vit.load(int8_artifacts[target], provider="cpu", session_options=IN_FLOAT).run(pixels)
    theirs = openvino_answers(int8_artifacts[target], pixels)
    assert (ours[0].argmax(1) == theirs[0].argmax(1)).all()
    for a, b in zip(ours, theirs, strict=True):
        assert cosines(a, b).min() > 0.9998  # measured 0.99991: a value on the border of two steps falls either way


def test_openvinos_int8_kernels_take_every_quantized_layer(int8_artifacts, target):
    compiled = compiled_by_openvino(int8_artifacts[target], int8_kernels=True)
    ran = Counter()
    for operator in compiled.get_runtime_model().get_ops():
        facts = operator.get_rt_info()
        ran[facts["layerType"].astype(str), facts["primitiveType"].astype(str).rpartition("_")[2].lower()] += 1
    products = {computed_in: count for (kind, computed_in), count in ran.items() if kind == "FullyConnected"}
    by_engine = {"portable": 0, "openvino": BY_ENGINE}[target]
    assert products == {"i8": QUANTIZED - by_engine, "f32": 1 + by_engine}


def test_openvinos_int8_kernels_agree(int8_artifacts, target, random_pixels, folder):
    """With weights of seven bits, which no processor's sums overflow: what OpenVINO makes of the graph is tested."""
    model = onnx.load(int8_artifacts[target])
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.name.endswith(".weight") and array.dtype == np.int8:
            tensor.raw_data = np.rint(array / 2).astype(np.int8).tobytes()
        elif tensor.name.endswith(".weight_scale"):
            tensor.raw_data = (2 * array).tobytes()
    onnx.save(model, path := folder / "seven_bits.onnx")
    pixels = random_pixels(16, 32)
    theirs = openvino_answers(path, pixels, int8_kernels=True)
    session = open_session(
        path, provider="cpu", facts=ModelFacts(precision="int8"), overrides=Overrides(session_options=IN_FLOAT)
    ).session
    ours = session.run(["logits", "embedding"], {"pixels": pixels})
    assert (ours[0].argmax(1) == theirs[0].argmax(1)).all()
    for a, b in zip(ours, theirs, strict=True):
        assert cosines(a, b).min() > 0.999


@pytest.mark.skipif(int8_products_saturate(), reason="OpenVINO's int8 kernels saturate on processors without VNNI")
def test_openvinos_int8_kernels_agree_with_all_eight_bits(int8_artifacts, target, random_pixels):
    pixels = random_pixels(16, 32)
    ours = vit.load(int8_artifacts[target], provider="cpu", session_options=IN_FLOAT).run(pixels)
    theirs = openvino_answers(int8_artifacts[target], pixels, int8_kernels=True)
    assert (ours[0].argmax(1) == theirs[0].argmax(1)).all()
    for a, b in zip(ours, theirs, strict=True):
        assert cosines(a, b).min() > 0.999


@pytest.mark.parametrize("pictures", [1, 3])
def test_openvino_takes_any_batch(pictures, int8_artifacts, target, random_pixels):
    logits, embedding = openvino_answers(int8_artifacts[target], random_pixels(pictures, 32))
    assert (logits.shape, embedding.shape) == ((pictures, 7), (pictures, 128))


def test_openvino_and_onnxruntime_agree_on_a_trained_model(data, tmp_path_factory):
    """DeiT-Tiny, calibrated on 32 photos, asked about 20 others."""
    few = tmp_path_factory.mktemp("few")
    for photo in sorted((data / "calibration").iterdir())[::4]:
        (few / photo.name).symlink_to(photo)
    request = ExportRequest(
        model=str(data / "deit_tiny_patch16_224.safetensors"),
        preprocessing=PreprocessingOptions(resize=256, interpolation="bicubic"),
        precision="int8",
        target="portable",
        calibrate=few,
        output=few / "deit.onnx",
    )
    path = export(request).path
    with (data / "photos" / "labels.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)][::25]
    model = vit.load(path, provider="cpu")
    pixels = np.stack([load_pixels(data / "photos" / name, model.artifact.preprocessing) for name in names])
    assert len(pixels) == 20
    ours, theirs = model.run(pixels)[0], openvino_answers(path, pixels)[0]
    path.unlink()
    # Their logits differ by 0.05 (root mean square). Some photos lie between two breeds of dog, so to say: their best
    # two logits are 0.02 apart (the file as made on an AMD EPYC) or 0.13 (on an Intel Xeon), which decides nothing.
    best = np.sort(ours, axis=1)
    decided = best[:, -1] - best[:, -2] > 0.2
    assert decided.sum() >= 16
    assert (ours.argmax(1) == theirs.argmax(1))[decided].all()
    assert cosines(ours, theirs).min() > 0.997  # measured 0.9979


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


# Float.


@pytest.fixture(scope="module")
def gpu_float32(three_blocks, tmp_path_factory):
    return export(ExportRequest(model=str(three_blocks), output=tmp_path_factory.mktemp("gpu"), target="gpu")).path


def test_float32_for_gpus_uses_the_fused_attention(gpu_float32):
    model = onnx.load(gpu_float32)
    counted = Counter((node.domain, node.op_type) for node in model.graph.node)
    assert counted["com.microsoft", "MultiHeadAttention"] == BLOCKS
    assert {op for domain, op in counted if domain} == {"MultiHeadAttention"}
    assert not counted["", "Softmax"]
    assert counted["", "MatMul"] == QUANTIZED + 1
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT, TensorProto.INT64}


def test_float32_for_gpus_answers_as_pytorch_does(gpu_float32, three_blocks, pytorch, random_pixels):
    pixels = random_pixels(16, 32)
    reference = pytorch.run(pytorch.tiny(load_file(three_blocks), num_layers=3), pytorch.normalise(pixels))
    for ours, expected in zip(vit.load(gpu_float32).run(pixels), reference, strict=True):
        assert np.abs(ours - expected).max() < 1e-4


def test_portable_float32_is_the_file_for_the_cpu(three_blocks, int8_artifacts, folder):
    """Both are of standard operators; only what they say of their target differs."""
    path = export(ExportRequest(model=str(three_blocks), output=folder, target="portable")).path
    assert onnx.load(path).graph == onnx.load(int8_artifacts["fp32"]).graph
    assert read_artifact(path).target == "portable"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_openvino_answers_as_pytorch_does(precision, three_blocks, folder, pytorch, random_pixels):
    path = export(ExportRequest(model=str(three_blocks), output=folder, target="portable", precision=precision)).path
    pixels = random_pixels(8, 32)
    reference = pytorch.run(pytorch.tiny(load_file(three_blocks), num_layers=3), pytorch.normalise(pixels))
    for ours, expected in zip(openvino_answers(path, pixels), reference, strict=True):
        assert np.abs(ours - expected).max() < {"fp32": 1e-4, "fp16": 1.5e-2}[precision]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "three.onnx"),
        ({"target": "portable"}, "three.portable.onnx"),
        ({"target": "gpu"}, "three.gpu.onnx"),
        ({"target": "gpu", "precision": "fp16"}, "three.fp16.gpu.onnx"),
        ({"target": "portable", "precision": "fp16"}, "three.fp16.portable.onnx"),
        ({"precision": "int8"}, "three.int8.onnx"),
    ],
)
def test_the_default_name_says_precision_and_target(options, name, three_blocks, folder, files_in):
    exported = export(ExportRequest(model=str(three_blocks), output=folder, **options))
    assert files_in(folder) == [name]
    artifact = read_artifact(exported.path)
    assert (artifact.precision, artifact.target) == (options.get("precision", "fp32"), options.get("target", "cpu"))


REMARKS = {
    "portable": "checked on the CPU: not with TensorRT or other runtimes",
    "openvino": "checked on the CPU: not with OpenVINO",
}


@pytest.mark.parametrize("kind", ["static", "dynamic", "openvino", "portable", "fp32"])
def test_only_files_for_the_cpu_and_of_float32_are_checked_in_full(kind, int8_artifacts):
    assert read_artifact(int8_artifacts[kind]).verification.remark == REMARKS.get(kind, "")
