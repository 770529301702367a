"""int8 linear layers for onnxruntime's CPU provider: uint8 activations times int8 weights, said outright.

`MatMulIntegerToFloat` multiplies integers and cannot be missed by a fusion, unlike QuantizeLinear and
DequantizeLinear around a MatMul. Everything else stays in float32. Three ways to quantize an activation:

- **pixels** are uint8 already, exactly;
- **static**: one scale from calibration, for what a LayerNorm puts out;
- **by row**: each token has its own scale, measured while the model runs, for what attention and GELU put out: there
  some tokens are ten times larger than others, and the class token, which decides the answer, is among the small ones.
  Without calibration all activations but the pixels are quantized by row. One picture's answer never depends on the
  others in its batch.
- **by row, twice**: what the first rounding leaves is quantized once more and multiplied by the same weights, which
  makes 16 bits. For the first block, whose errors pass through all others and were two fifths of the whole, and for the
  last block's class token, where a second product is one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from onnx import TensorProto

from vit_export.builder import GraphBuilder
from vit_export.linear import Linear
from vit_export.lowering import Activation, Float32, fused_attention
from vit_export.rounding import QuantizedWeight, Range
from vit_runtime.artifact import Architecture
from vit_runtime.model import FloatArray

WeightRounder = Callable[[str, Linear], QuantizedWeight]
"""Gives a linear layer's int8 weights by the layer's path in the graph."""

ZERO_POINT: Final = 128
"""Of activations that are quantized symmetrically."""
STEPS: Final = 127.0
"""Steps on each side of that zero point; -128 is left out so that both sides are alike."""
GELU_FLOOR: Final = 0.17
"""GELU is nowhere below -0.17 (its minimum is -0.16997)."""
FINER: Final = 254.0
"""Steps of the second rounding within one step of the first: what is left is half a step at most, either way."""
_SMALLEST: Final = 1e-12
"""Keeps a row of zeros from dividing by zero."""


@dataclass(frozen=True)
class _Rows:
    """An activation with a scale for each row, as a matrix."""

    values: str
    """uint8 (N·rows, width); with 16 bits (2·N·rows, width), what the first rounding left below what it kept."""
    scale: str
    """float32 (N·rows, 1), or (2·N·rows, 1)."""


class CpuInt8:
    """Linear layers in int8, the head and `keep_float` in float32."""

    def __init__(
        self, weights: WeightRounder, ranges: Mapping[str, Range], keep_float: frozenset[str] = frozenset()
    ) -> None:
        """Takes int8 weights by layer, calibrated ranges by site (none: all by row), and the paths of float layers."""
        self._weights = weights
        self._static_scales = {site: seen.largest / STEPS for site, seen in ranges.items()}
        self._keep_float = keep_float
        self._float = Float32()
        self._static_values: dict[str, str] = {}
        self._row_values: dict[str, _Rows] = {}

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Float where asked for, and for the head: one row a picture costs nothing, and its error is the answer's."""
        path = g.path(name)
        if x.kind == "class_token" or path in self._keep_float:
            return self._float.linear(g, x, name, layer)
        if x.kind == "pixels":
            return self._product(g, x.value, g.constant("scale/one", 1.0, np.float32), "", name, path, layer)
        if self._is_static(x):
            values = self._static(g, x)
            zero_point = g.constant("zero_point/middle", ZERO_POINT, np.uint8)
            return self._product(g, values, _static_scale(g, x, self._static_scales), zero_point, name, path, layer)
        return self._by_row(g, x, name, path, layer)

    def attention(self, g: GraphBuilder, qkv: tuple[str, str, str], arch: Architecture, *, queries: int) -> str:  # noqa: ARG002
        """The fused operator, in float32."""
        return fused_attention(g, qkv, arch)

    def gelu(self, g: GraphBuilder, x: str) -> str:
        """The exact one, with erf: the tanh form would save two percent of the time for five percent more error."""
        return self._float.gelu(g, x)

    def simulate(self, x: Activation, values: FloatArray) -> FloatArray:
        """What the int8 product makes of activations (rows, width), back in float32."""
        if x.kind in ("pixels", "class_token"):
            return values
        if self._is_static(x):
            scale = np.float32(self._static_scales[x.site])
            return np.asarray(np.clip(np.rint(values / scale), -ZERO_POINT, 255 - ZERO_POINT) * scale, np.float32)
        if _is_floored(x):
            high, floor = values.max(axis=1, keepdims=True), np.float32(GELU_FLOOR)
            exact = np.float32(GELU_FLOOR * 255) / (high + floor)
            zero_point = np.minimum(np.maximum(np.floor(exact), np.clip(np.rint(exact), 0, 1)), 254)
            scale = np.maximum(floor / np.maximum(zero_point, 1), high * np.float32(1 / 254))
        else:
            zero_point = np.float32(ZERO_POINT)
            scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.float32(_SMALLEST)) / np.float32(STEPS)
        coarse = (np.clip(np.rint(values / scale) + zero_point, 0, 255) - zero_point) * scale
        if _is_fine(x):
            finer = scale / np.float32(FINER)
            coarse += np.clip(np.rint((values - coarse) / finer), -ZERO_POINT, 255 - ZERO_POINT) * finer
        return np.asarray(coarse, np.float32)

    def _is_static(self, x: Activation) -> bool:
        return x.kind == "normalised" and not _is_fine(x) and x.site in self._static_scales

    def _product(
        self, g: GraphBuilder, values: str, scale: str, zero_point: str, name: str, path: str, layer: Linear
    ) -> str:
        weight, weight_scale, weight_zero_point = self._int8_weight(g, path, layer)
        bias = g.weight(f"{layer.key}.bias", (layer.shape[0],), layer.bias)
        inputs = [values, weight, scale, weight_scale, zero_point, weight_zero_point, bias]
        return g.contrib_node("MatMulIntegerToFloat", inputs, name)

    def _by_row(self, g: GraphBuilder, x: Activation, name: str, path: str, layer: Linear) -> str:
        """Records y = row_scale · (q Wᵀ) + b: (N, rows, in) to (N, rows, out)."""
        rows = self._rows(g, x)
        weight, weight_scale, weight_zero_point = self._int8_weight(g, path, layer)
        one = g.constant("scale/one", 1.0, np.float32)
        middle = "" if _is_floored(x) else g.constant("zero_point/middle", ZERO_POINT, np.uint8)
        inputs = [rows.values, weight, one, weight_scale, middle, weight_zero_point]
        y = g.contrib_node("MatMulIntegerToFloat", inputs, f"{name}/product")  # (N·rows, out)
        y = g.node("Mul", [y, rows.scale], f"{name}/scaled")
        if _is_fine(x):
            y = g.node(
                "Reshape", [y, g.constant(f"shape/pair_of_{layer.shape[0]}", (2, -1, layer.shape[0]))], f"{name}/pair"
            )
            y = g.node("ReduceSum", [y, g.constant("axis/first", [0])], f"{name}/sum", keepdims=0)

        def bias() -> FloatArray:
            if not _is_floored(x):
                return layer.bias()
            # The rows' zero points times their scales are the floor, always: one vector takes them all away.
            shift = GELU_FLOOR * self._weights(path, layer).dequantized().sum(axis=1, dtype=np.float64)
            return np.asarray(layer.bias() - shift, np.float32)

        y = g.node("Add", [y, g.weight(f"{layer.key}.bias", (layer.shape[0],), bias)], f"{name}/biased")
        shape = g.constant(f"shape/{x.rows}_rows_of_{layer.shape[0]}", (-1, x.rows, layer.shape[0]))
        return g.node("Reshape", [y, shape], name)

    def _int8_weight(self, g: GraphBuilder, path: str, layer: Linear) -> tuple[str, str, str]:
        outputs, inputs = layer.shape
        weight = g.weight(
            f"{layer.key}.weight", (inputs, outputs), lambda: self._weights(path, layer).values.T, np.int8
        )
        scale = g.weight(f"{layer.key}.weight_scale", (outputs,), lambda: self._weights(path, layer).scale)
        # Zero is the default. But where onnxruntime turns the weights into uint8, for processors without VNNI, version
        # 1.20 wants it said, and all versions want one for each layer.
        zero = g.weight(f"{layer.key}.weight_zero_point", (), lambda: np.zeros((), np.int8), np.int8)
        return weight, scale, zero

    def _static(self, g: GraphBuilder, x: Activation) -> str:
        if x.value not in self._static_values:
            zero_point = g.constant("zero_point/middle", ZERO_POINT, np.uint8)
            inputs = [x.value, _static_scale(g, x, self._static_scales), zero_point]
            self._static_values[x.value] = g.node("QuantizeLinear", inputs, _below(g, x, "quantized"))
        return self._static_values[x.value]

    def _rows(self, g: GraphBuilder, x: Activation) -> _Rows:
        if x.value not in self._row_values:
            shape = g.constant(f"shape/rows_of_{x.width}", (-1, x.width))
            matrix = g.node("Reshape", [x.value, shape], _below(g, x, "rows"))
            scale, zero_point = _gelu_rows(g, x, matrix) if _is_floored(x) else _symmetric_rows(g, x, matrix)
            values = g.node("QuantizeLinear", [matrix, scale, zero_point], _below(g, x, "quantized"), axis=0)
            if _is_fine(x):
                values, scale = _with_rest(g, x, matrix, values, scale, zero_point)
            column = g.node("Unsqueeze", [scale, g.constant("axis/last", [-1])], _below(g, x, "column"))
            self._row_values[x.value] = _Rows(values, column)
        return self._row_values[x.value]


def _is_fine(x: Activation) -> bool:
    """Whether an activation gets 16 bits: in the first block, and where it is the class token alone."""
    return x.kind != "pixels" and (x.site.startswith("encoder/0/") or x.rows == 1)


def _is_floored(x: Activation) -> bool:
    """Whether an activation's zero points are by row too; with 16 bits there is no need to spare steps."""
    return x.kind == "gelu" and not _is_fine(x)


def _with_rest(
    g: GraphBuilder, x: Activation, matrix: str, values: str, scale: str, zero_point: str
) -> tuple[str, str]:
    """Records what rounding took off the rows, quantized in steps of scale / 254, below what it kept.

    Both go through one product: onnxruntime would pack the weights of a second one once more.
    """
    known = g.node("DequantizeLinear", [values, scale, zero_point], _below(g, x, "known"), axis=0)
    rest = g.node("Sub", [matrix, known], _below(g, x, "rest"))
    finer = g.node("Mul", [scale, g.constant("scale/finer", 1 / FINER, np.float32)], _below(g, x, "finer"))
    middle = _middle(g, x, scale, "rest_zero_point")
    fine = g.node("QuantizeLinear", [rest, finer, middle], _below(g, x, "fine"), axis=0)
    both = g.node("Concat", [values, fine], _below(g, x, "both"), axis=0)
    return both, g.node("Concat", [scale, finer], _below(g, x, "both_scales"), axis=0)


def _middle(g: GraphBuilder, x: Activation, like: str, name: str) -> str:
    """Records a vector of the zero point 128 as long as another: QuantizeLinear wants one for each scale."""
    middle = g.constant("zero_point/as_float", float(ZERO_POINT), np.float32)
    vector = g.node("Clip", [like, middle, middle], _below(g, x, f"{name}/as_float"))
    return g.node("Cast", [vector], _below(g, x, name), to=TensorProto.UINT8)


def _symmetric_rows(g: GraphBuilder, x: Activation, matrix: str) -> tuple[str, str]:
    """Records scale = max |row| / 127 and zero point 128: two vectors (N·rows,)."""
    axis = g.constant("axis/columns", [1])
    high = g.node("ReduceMax", [matrix, axis], _below(g, x, "high"), keepdims=0)
    low = g.node("ReduceMin", [matrix, axis], _below(g, x, "low"), keepdims=0)
    low = g.node("Neg", [low], _below(g, x, "depth"))
    floor = g.constant("scale/smallest", _SMALLEST, np.float32)
    largest = g.node("Max", [high, low, floor], _below(g, x, "largest"))
    scale = g.node("Mul", [largest, g.constant("scale/symmetric", 1 / STEPS, np.float32)], _below(g, x, "scale"))
    return scale, _middle(g, x, largest, "zero_point")


def _gelu_rows(g: GraphBuilder, x: Activation, matrix: str) -> tuple[str, str]:
    """The widest zero point z for which floor/z still reaches the row's maximum, and scale = floor / z: (N·rows,).

    A row above 254 floors (43) has no such zero point: it gets 1 or 0, and the scale that reaches it. The bias then
    takes off up to one floor too much or too little, which is less than the row's own step.
    """

    def number(name: str, value: float) -> str:
        return g.constant(f"gelu/{name}", value, np.float32)

    def step(op: str, inputs: list[str], name: str) -> str:
        return g.node(op, inputs, _below(g, x, name))

    floor, one = number("floor", GELU_FLOOR), number("one", 1.0)
    high = g.node("ReduceMax", [matrix, g.constant("axis/columns", [1])], _below(g, x, "high"), keepdims=0)
    exact = step("Div", [number("reach", GELU_FLOOR * 255), step("Add", [high, floor], "span")], "exact")
    first = step("Clip", [step("Round", [exact], "nearest"), number("zero", 0.0), one], "zero_or_one")
    whole = step("Max", [step("Floor", [exact], "floor"), first], "whole")
    whole = step("Min", [whole, number("most", 254.0)], "zero_point/as_float")
    scale = step("Div", [floor, step("Max", [whole, one], "divisor")], "step")
    scale = step("Max", [scale, step("Mul", [high, number("share", 1 / 254)], "least_step")], "scale")
    return scale, g.node("Cast", [whole], _below(g, x, "zero_point"), to=TensorProto.UINT8)


def _static_scale(g: GraphBuilder, x: Activation, scales: Mapping[str, float]) -> str:
    return g.constant(f"scale/{x.site}", scales[x.site], np.float32)


def _below(g: GraphBuilder, x: Activation, name: str) -> str:
    """A node name for a step of an activation's quantization, below the current scope."""
    return f"{x.value.removeprefix(g.path(''))}/{name}"
