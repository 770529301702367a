"""What onnxruntime really runs for an int8 file."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.session import open_session

BLOCKS = 3
LAYERS = {"patch_embed/projection"} | {
    f"encoder/{block}/{layer}"
    for block in range(BLOCKS)
    for layer in (*(f"attention/{name}" for name in ("query", "key", "value", "output")), "mlp/hidden", "mlp/output")
}
KEPT = "encoder/1/mlp/output"
SIXTEEN_BITS_IF_CALIBRATED = {"encoder/0/attention/output", "encoder/0/mlp/output"}
"""Layers of the first block whose input is rounded twice; without calibration all of them, whose inputs are four."""
FLOAT_PRODUCTS = {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulNBits"}
INTEGER_PRODUCTS = {
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"),
    *("QAttention", "ConvInteger", "QLinearConv"),
}
DECIDED_BY_THE_FILE = "MatMulIntegerToFloat"


# What runs.


@dataclass(frozen=True)
class Ran:
    """One picture through a file as vit_runtime opens it: the kernels in onnxruntime's own profile."""

    kernels: list[tuple[str, str, list[tuple[str, list[int]]]]]
    """Name, operator, and type and shape of each input; weights that a kernel has packed are not listed."""
    optimised: onnx.ModelProto
    """The graph after onnxruntime's fusions."""
    calibrated: bool

    @property
    def sixteen_bits(self) -> int:
        """Activations with a second rounding: some in the first block, and the last block's class token four times."""
        return (len(SIXTEEN_BITS_IF_CALIBRATED) if self.calibrated else 4) + 4

    def named(self, *operators: str) -> dict[str, list[tuple[str, list[int]]]]:
        return {name: inputs for name, operator, inputs in self.kernels if operator in operators}


@pytest.fixture(scope="module", params=["static", "dynamic", "static with a float layer"])
def ran(request, int8_artifacts, three_blocks, calibration_folder, tmp_path_factory, random_pixels) -> Ran:
    folder = tmp_path_factory.mktemp("profile")
    path, calibrated = int8_artifacts.get(request.param), request.param != "dynamic"
    if path is None:
        request = ExportRequest(
            model=str(three_blocks),
            output=folder,
            precision="int8",
            calibrate=calibration_folder,
            keep_float=(KEPT,),
        )
        path = export(request).path
    with pytest.MonkeyPatch.context() as patch:

        class Profiling(onnxruntime.SessionOptions):
            """Whatever vit_runtime sets, and a profile beside it."""

            def __init__(self) -> None:
                super().__init__()
                self.enable_profiling = True
                self.profile_file_prefix = str(folder / "profile")
                self.optimized_model_filepath = str(folder / "optimised.onnx")

        patch.setattr(onnxruntime, "SessionOptions", Profiling)
        session = open_session(path, provider="cpu", facts=ModelFacts(precision="int8")).session
    session.run(None, {"pixels": random_pixels(1, 32)})
    with open(session.end_profiling()) as file:  # noqa: PTH123 - a name from onnxruntime
        events = json.load(file)
    kernels = [
        (
            event["name"].removesuffix("_kernel_time"),
            event["args"]["op_name"],
            [next(iter(given.items())) for given in event["args"]["input_type_shape"]],
        )
        for event in events
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time")
    ]
    return Ran(kernels, onnx.load(folder / "optimised.onnx"), calibrated)


@pytest.fixture
def kept(ran) -> set[str]:
    """Layers that this file keeps in float, besides the head; read off the profile's file, not off the profile."""
    stored = {tensor.name: tensor.data_type for tensor in ran.optimised.graph.initializer}
    return {KEPT} if stored.get("encoder.layers.encoder_layer_1.mlp.3.weight") == TensorProto.FLOAT else set()


def test_every_linear_layer_but_the_float_ones_multiplies_integers(ran, kept):
    products = ran.named(*INTEGER_PRODUCTS)
    assert {name.removesuffix("/product") for name in products} == LAYERS - kept
    assert len(products) == 1 + 6 * BLOCKS - len(kept)
    # Nothing is left for onnxruntime to fuse, or to miss: what the file says is what runs.
    assert ran.named(DECIDED_BY_THE_FILE) == products


def test_integer_products_take_uint8_and_never_two_signed_factors(ran):
    assert {inputs[0][0] for inputs in ran.named(*INTEGER_PRODUCTS).values()} == {"uint8"}


def test_the_products_are_as_large_as_the_architecture_says(ran, kept):
    """Rows of the first factor: 16 patches, 17 tokens, twice as many where there are 16 bits, the class token alone."""
    shapes = {
        name.removesuffix("/product"): (int(np.prod(shape[:-1])), shape[-1])
        for name, ((_, shape), *_) in ran.named(DECIDED_BY_THE_FILE).items()
    }
    expected = {"patch_embed/projection": (16, 3 * 8 * 8)}
    for block in range(BLOCKS):
        rows = {0: 17 if ran.calibrated else 2 * 17, 1: 17, 2: 2}[block]
        for layer in ("query", "key", "value", "output"):
            expected[f"encoder/{block}/attention/{layer}"] = (rows, 128)
        expected |= {f"encoder/{block}/mlp/hidden": (rows, 128), f"encoder/{block}/mlp/output": (rows, 256)}
    expected |= {layer: (2 * 17, expected[layer][1]) for layer in SIXTEEN_BITS_IF_CALIBRATED}
    expected |= {f"encoder/2/attention/{name}": (17, 128) for name in ("key", "value")}
    assert shapes == {layer: shape for layer, shape in expected.items() if layer not in kept}


def test_the_head_and_the_kept_layers_are_the_only_float_products(ran, kept):
    products = ran.named(*FLOAT_PRODUCTS)
    assert len(products) == 1 + len(kept)
    owners = {next(layer for layer in ("logits", *LAYERS) if name.startswith(layer)) for name in products}
    assert owners == {"logits"} | kept
    assert {inputs[0][0] for inputs in products.values()} == {"float"}
    assert not ran.named("MatMulNBits")


def test_attention_is_one_fused_operator_a_block(ran):
    attention = ran.named("MultiHeadAttention")
    assert set(attention) == {f"encoder/{block}/attention/mix" for block in range(BLOCKS)}
    queries = [attention[f"encoder/{block}/attention/mix"][0] for block in range(BLOCKS)]
    assert queries == [("float", [1, 17, 128]), ("float", [1, 17, 128]), ("float", [1, 1, 128])]
    assert not ran.named("Softmax")


def test_nothing_is_dequantized_in_front_of_a_product(ran):
    dequantized = ran.named("DequantizeLinear")
    assert len(dequantized) == ran.sixteen_bits
    assert {inputs[0][0] for inputs in dequantized.values()} == {"uint8"}  # activations: no weight among them
    makes = {node.output[0]: node.op_type for node in ran.optimised.graph.node}
    reads = Counter(
        node.op_type
        for node in ran.optimised.graph.node
        for name in node.input
        if makes.get(name) == "DequantizeLinear"
    )
    assert reads == {"Sub": ran.sixteen_bits}


def test_an_activation_is_quantized_once_for_all_layers_that_read_it(ran, kept):
    """One a place: three projections read one; in 16 bits a second time for the rest; pixels not at all."""
    places = 4 * BLOCKS + 1  # in the last block the query's class token is a place of its own
    assert len(ran.named("QuantizeLinear")) == places + ran.sixteen_bits - len(kept)


# One picture and others.


@pytest.mark.parametrize("kind", ["static", "dynamic"])
@pytest.mark.parametrize("batch", [2, 3, 5, 16])
def test_a_picture_gets_the_same_bits_in_any_batch(kind, batch, int8_artifacts, random_pixels):
    model = vit.load(int8_artifacts[kind], provider="cpu")
    pixels = random_pixels(16, 32)
    pixels[::3] //= 16  # dark ones beside bright ones: a scale of the batch would show
    together = model.run(pixels[:batch])
    for picture in range(batch):
        for ours, alone in zip(together, model.run(pixels[picture : picture + 1]), strict=True):
            np.testing.assert_array_equal(ours[picture], alone[0])
