"""Each integer product is the one that the export reckoned with: the graph against simulation and exact values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from vit_export.int8.cpu import CpuInt8, WeightRounder
from vit_export.int8.portable import PortableInt8
from vit_export.int8.rounding import QuantizedWeight, Range
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation
from vit_export.write.model_file import ModelFile
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.session import open_session

WIDTH, OUTPUTS, ROWS = 64, 48, 6
FLOAT32_STEP = 2.0**-24
"""Largest relative error of one rounding to float32."""
CPU = {
    # kind, site, rows: pixels; static; by row; by row with GELU's floor; 16 bits in the first block, of a class token
    "pixels": ("pixels", "patch_embed/input", ROWS),
    "normalised, static": ("normalised", "encoder/1/attention/input", ROWS),
    "normalised, by row": ("normalised", "encoder/2/attention/input", ROWS),
    "mixed": ("mixed", "encoder/1/attention/mixed", ROWS),
    "gelu": ("gelu", "encoder/1/mlp/gelu", ROWS),
    "normalised, first block": ("normalised", "encoder/0/mlp/input", ROWS),
    "mixed, first block": ("mixed", "encoder/0/attention/mixed", ROWS),
    "gelu, first block": ("gelu", "encoder/0/mlp/gelu", ROWS),
    "normalised, class token": ("normalised", "encoder/1/attention/input", 1),
    "mixed, class token": ("mixed", "encoder/3/attention/mixed", 1),
    "gelu, class token": ("gelu", "encoder/3/mlp/gelu", 1),
    "mixed, class and distillation token": ("mixed", "encoder/3/attention/mixed", 2),
}
UNCALIBRATED = {name: CPU[name] for name in ("mixed", "gelu", "normalised, first block", "gelu, first block")}
PORTABLE = {name: CPU[name] for name in ("pixels", "normalised, static", "mixed", "gelu")}


def uncalibrated(weights: WeightRounder, _ranges: dict[str, Range]) -> CpuInt8:
    """The lowering of dynamic int8."""
    return CpuInt8(weights, {})


CASES = [
    *(pytest.param(CpuInt8, *case, id=f"cpu: {name}") for name, case in CPU.items()),
    *(pytest.param(uncalibrated, *case, id=f"cpu, uncalibrated: {name}") for name, case in UNCALIBRATED.items()),
    *(pytest.param(PortableInt8, *case, id=f"portable: {name}") for name, case in PORTABLE.items()),
]
RANGES = {
    "patch_embed/input": Range(low=0, high=255),
    "encoder/1/attention/input": Range(low=-2.6, high=3.1),
    "encoder/1/attention/mixed": Range(low=-2.2, high=1.9),
    "encoder/1/mlp/gelu": Range(low=-0.17, high=3.3),
}
"""What a calibration might have found, for the places that it was asked about."""


@dataclass(frozen=True)
class OneLayer:
    """A linear layer in int8, as a lowering puts it into a graph."""

    lowering: CpuInt8 | PortableInt8
    input: Activation
    weight: np.ndarray
    """The dequantized weights in float64, (out, in)."""
    bias: np.ndarray
    calibrated: bool
    session: onnxruntime.InferenceSession

    def run(self, values: np.ndarray) -> np.ndarray:
        """(N, rows, in) to (N, rows, out)."""
        return self.session.run(None, {"x": values})[0]

    def expected(self, values: np.ndarray) -> np.ndarray:
        """What simulation and float64 make of the same."""
        matrix = self.lowering.simulate(self.input, values.reshape(-1, WIDTH)).astype(np.float64)
        return (matrix @ self.weight.T + self.bias).reshape(*values.shape[:2], OUTPUTS)

    def rounding(self, values: np.ndarray) -> np.ndarray:
        """What float32 arithmetic may be off by, of output size: nothing but this is between graph and simulation.

        Integer sums are exact. Onto them come five roundings to float32: two scales, their product with the sum, the
        bias (into which half GELU's range or its floor is folded), the sum with it. Where onnxruntime multiplies
        dequantized floats instead, a rounding for each of the `WIDTH` terms.
        """
        roundings = 6 + (WIDTH if isinstance(self.lowering, PortableInt8) else 0)
        magnitude = (np.abs(values, dtype=np.float64) + 2) @ np.abs(self.weight).T + np.abs(self.bias)
        bound = roundings * FLOAT32_STEP * magnitude
        if self.has_16_bits:
            # numpy divides by 127 where the graph multiplies by its inverse: the last bit of a scale decides now and
            # then whether a value lies on this or that step of 16 bits.
            step = np.abs(values).max(axis=-1, keepdims=True) / 127 / 254
            bound = bound + 4 * step * np.abs(self.weight).max()
        return bound

    @property
    def has_16_bits(self) -> bool:
        """Whether the input is rounded twice."""
        if isinstance(self.lowering, PortableInt8) or self.input.kind == "pixels":
            return False
        first = self.input.site.startswith("encoder/0/") and (not self.calibrated or self.input.kind != "normalised")
        return self.input.alone or first


@pytest.fixture
def one_layer(folder):
    def build(lowering_class, kind, site, rows) -> OneLayer:
        rng = np.random.default_rng(11)
        weights = QuantizedWeight(
            values=rng.integers(-127, 128, (OUTPUTS, WIDTH), dtype=np.int8),
            scale=rng.uniform(0.001, 0.01, OUTPUTS).astype(np.float32),
        )
        bias = rng.normal(size=OUTPUTS).astype(np.float32)
        layer = Linear(key="layer", shape=(OUTPUTS, WIDTH), weight=weights.dequantized, bias=lambda: bias)
        lowering = lowering_class(lambda _path, _layer: weights, RANGES)
        graph = GraphBuilder()
        graph.input("x", TensorProto.UINT8 if kind == "pixels" else TensorProto.FLOAT, ("N", rows, WIDTH))
        with graph.scope("block"):
            value = lowering.pixels(graph, "x") if kind == "pixels" else "x"
            x = Activation(value=value, site=site, kind=kind, rows=rows, width=WIDTH, alone=rows < ROWS)
            y = lowering.linear(graph, x, "layer", layer)
        graph.output(y, TensorProto.FLOAT, ("N", rows, OUTPUTS))
        file = ModelFile(folder, "layer.onnx")
        file.write_graph(graph, written=lambda _bytes: None)
        file.close_graph()
        weight = weights.values.astype(np.float64) * weights.scale[:, None].astype(np.float64)
        session = open_session(file.path, provider="cpu", threads=1, facts=ModelFacts(precision="int8")).session
        calibrated = lowering_class is not uncalibrated
        return OneLayer(lowering, x, weight, bias.astype(np.float64), calibrated, session)

    return build


def gelu(x: np.ndarray) -> np.ndarray:
    from math import erf

    return np.asarray(x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2, np.float32)


def activations(kind: str, rows: int, pictures: int = 4) -> np.ndarray:
    """Values of the kind, with rows of very different size."""
    rng = np.random.default_rng(5)
    if kind == "pixels":
        return rng.integers(0, 256, (pictures, rows, WIDTH), dtype=np.uint8)
    values = rng.normal(size=(pictures, rows, WIDTH)) * rng.uniform(0.1, 1.5, (pictures, rows, 1))
    return gelu(values) if kind == "gelu" else values.astype(np.float32)


@pytest.mark.parametrize(("lowering", "kind", "site", "rows"), CASES)
def test_a_product_is_what_the_simulation_says(lowering, kind, site, rows, one_layer):
    layer, values = one_layer(lowering, kind, site, rows), activations(kind, rows)
    off = np.abs(layer.run(values) - layer.expected(values))
    assert (off <= layer.rounding(values)).all(), (off / layer.rounding(values)).max()


@pytest.mark.parametrize(("lowering", "kind", "site", "rows"), CASES)
def test_quantizing_moves_no_value_by_more_than_half_a_step(lowering, kind, site, rows, one_layer):
    """Against the exact values, with none of our simulation: how fine the grid is that the formulas promise."""
    layer, values = one_layer(lowering, kind, site, rows), activations(kind, rows)
    largest = np.abs(values).max(axis=-1, keepdims=True).astype(np.float64)
    if kind == "pixels":
        step = np.zeros(1)
    elif lowering is PortableInt8:
        seen = RANGES[site]
        step = np.full(1, (seen.high - seen.low) / 254 if kind == "gelu" else max(-seen.low, seen.high) / 127)
    elif layer.has_16_bits:
        step = largest / 127 / 254
    elif kind == "gelu":
        # At most one part in z of the floor is lost by a whole zero point z.
        zero_point = np.floor(0.17 * 255 / (values.max(axis=-1, keepdims=True) + 0.17))
        step = 0.17 / zero_point
    elif site in RANGES and kind == "normalised":
        step = np.full(1, RANGES[site].largest / 127)
        values = values.clip(RANGES[site].low, RANGES[site].high)
    else:
        step = largest / 127
    if lowering is PortableInt8 and kind != "pixels":
        values = values.clip(RANGES[site].low, RANGES[site].high)
    exact = values.astype(np.float64) @ layer.weight.T + layer.bias
    allowed = step * (0.5 + 1e-3) * np.abs(layer.weight).sum(axis=1) + layer.rounding(values)
    assert (np.abs(layer.run(values) - exact) <= allowed).all()


HARD_ROWS = {
    "zeros": lambda _rng: np.zeros(WIDTH),
    "all alike": lambda _rng: np.full(WIDTH, 0.3),
    "one value alone": lambda _rng: np.eye(WIDTH)[3] * 1.5,
    "huge": lambda rng: rng.normal(size=WIDTH) * 1e6,
    "tiny": lambda rng: rng.normal(size=WIDTH) * 1e-6,
    "denormal": lambda rng: rng.normal(size=WIDTH) * 1e-40,
    "negative": lambda rng: -np.abs(rng.normal(size=WIDTH)),
    "positive": lambda rng: np.abs(rng.normal(size=WIDTH)),
}
BY_ROW = [case for case in CASES if "cpu" in case.id and "static" not in case.id and "pixels" not in case.id]


@pytest.mark.parametrize("hard", HARD_ROWS.values(), ids=HARD_ROWS.keys())
@pytest.mark.parametrize(("lowering", "kind", "site", "rows"), BY_ROW)
def test_a_hard_row_is_right_and_leaves_its_neighbours_alone(hard, lowering, kind, site, rows, one_layer):
    layer, values = one_layer(lowering, kind, site, rows), activations(kind, rows)
    before = layer.run(values)
    row = hard(np.random.default_rng(3))
    changed = values.copy()
    changed[1, -1] = gelu(row) if kind == "gelu" else row
    after = layer.run(changed)

    assert np.isfinite(after).all()
    exact = changed[1, -1].astype(np.float64) @ layer.weight.T + layer.bias
    # 8 bits of a row are off by half a step each, a step being a 127th of the largest value (of GELU: a 100th, as its
    # zero point takes some); added up over a row without regard to sign.
    largest = np.abs(changed[1, -1]).max() + (0.17 if kind == "gelu" else 0)
    allowed = largest / (200 if kind == "gelu" else 254) * np.abs(layer.weight).sum(axis=1)
    assert (np.abs(after[1, -1] - exact) <= allowed + layer.rounding(changed)[1, -1]).all()
    others = np.ones(values.shape[:2], bool)
    others[1, -1] = False
    np.testing.assert_array_equal(after[others], before[others])


@pytest.mark.parametrize("lowering", [CpuInt8, PortableInt8])
def test_pixels_lose_nothing_whatever_they_are(lowering, one_layer):
    layer = one_layer(lowering, *CPU["pixels"])
    values = np.zeros((3, ROWS, WIDTH), np.uint8)
    values[1] = 255
    values[2] = np.arange(WIDTH) * 4
    exact = values.astype(np.float64) @ layer.weight.T + layer.bias
    assert (np.abs(layer.run(values) - exact) <= layer.rounding(values)).all()


def test_zero_lies_on_portable_gelus_grid(one_layer):
    """Most of what GELU puts out is zero: half a step off would be a bias of the same sign in every row."""
    layer = one_layer(PortableInt8, *CPU["gelu"])
    kept = layer.lowering.simulate(layer.input, np.zeros((2, WIDTH), np.float32))
    assert np.abs(kept).max() < 1e-6  # rounding to float32; a step is 0.014


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_patch_projection_is_exact_to_its_weights(kind, int8_artifacts, folder, random_pixels):
    """Pixels times dequantized weights in float64: uint8 is what pixels are, and nothing is lost."""
    model = onnx.load(int8_artifacts[kind])
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    model.graph.output.append(onnx.helper.make_tensor_value_info("patch_embed/projection", TensorProto.FLOAT, None))
    onnx.save(model, folder / "projection.onnx")
    pixels = random_pixels(2, 32)
    session = open_session(folder / "projection.onnx", provider="cpu", facts=ModelFacts(precision="int8")).session
    (ours,) = session.run(["patch_embed/projection"], {"pixels": pixels})

    assert arrays["conv_proj.weight"].dtype == np.int8
    weight = arrays["conv_proj.weight"].astype(np.float64) * arrays["conv_proj.weight_scale"].astype(np.float64)
    patches = pixels.reshape(2, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(2, 16, 192).astype(np.float64)
    exact = patches @ weight + arrays["conv_proj.bias"]
    magnitude = patches @ np.abs(weight) + np.abs(arrays["conv_proj.bias"])
    assert (np.abs(ours - exact) <= 6 * FLOAT32_STEP * magnitude).all()
