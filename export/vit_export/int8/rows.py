"""uint8 activations with a scale for each row, measured while the model runs: as graph nodes, and in NumPy.

- **symmetric**: the zero point is 128, and the row's largest value is 127 steps away.
- **floored**, for GELU's output, which is nowhere below -0.17: the zero point is the largest whole number z for which
  steps of floor / z still reach the row's maximum. Zero point times scale is then the floor in every row, so that one
  vector in the bias takes away the floors of all rows.
- **two roundings**, 16 bits: the rest of the first rounding is quantized once more, in steps a 254th as large. It is
  stacked below the first as further rows, because onnxruntime would pack the weights again for a second product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from onnx import TensorProto

from vit_export.write.builder import GraphBuilder
from vit_export.write.lowering import Activation
from vit_runtime.arrays import FloatArray

ZERO_POINT: Final = 128
"""Zero point of activations that are quantized symmetrically."""
STEPS: Final = 127.0
"""Steps on each side of that zero point; -128 is left out so that both sides are alike."""
GELU_FLOOR: Final = 0.17
"""GELU is nowhere below -0.17 (its minimum is -0.16997)."""
_MOST: Final = 255.0
_FINER: Final = 254.0
"""Steps of the second rounding within one step of the first: the rest is half a step at most, either way."""
_SMALLEST: Final = 1e-12
"""Smallest value to divide by, for rows of zeros."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A recorded activation with a scale for each row, as a matrix."""

    values: str
    """Name of the rounded values: uint8 (N·rows, width), or (2·N·rows, width) after two roundings."""
    scale: str
    """Name of the scales: float32 (N·rows, 1)."""


class RowQuantizer:
    """Records row quantization in one graph; an activation that several layers read is quantized once."""

    def __init__(self) -> None:
        self._rows: dict[str, Rows] = {}
        self._middles: dict[int, str] = {}

    def symmetric(self, g: GraphBuilder, x: Activation, *, twice: bool = False) -> Rows:
        """Records scale = max |row| / 127 and the rounded rows; with `twice`, also their rest below them."""
        if x.value in self._rows:
            return self._rows[x.value]
        matrix, high = _matrix_and_maximum(g, x)
        low = g.node("ReduceMin", [matrix, _columns(g)], x.step(g, "low"), keepdims=0)
        depth = g.node("Neg", [low], x.step(g, "depth"))
        smallest = g.constant("scale/smallest", _SMALLEST, np.float32)
        largest = g.node("Max", [high, depth, smallest], x.step(g, "largest"))
        scale = g.node("Mul", [largest, g.constant("scale/symmetric", 1 / STEPS, np.float32)], x.step(g, "scale"))
        middle = self._middle(g, x, largest)
        values = g.node("QuantizeLinear", [matrix, scale, middle], x.step(g, "quantized"), axis=0)
        if twice:
            values = _with_rest(g, x, matrix, values, scale, middle)
        return self._remember(g, x, values, scale)

    def floored(self, g: GraphBuilder, x: Activation) -> Rows:
        """Records zero point z and scale = floor / z of each row, and the rounded rows.

        A row above 255 floors (43) has no such zero point. It gets 0 and the scale that reaches its maximum: the bias
        then takes off one floor too much, which is less than the row's own step.
        """
        if x.value in self._rows:
            return self._rows[x.value]

        def number(name: str, value: float) -> str:
            return g.constant(f"gelu/{name}", value, np.float32)

        floor, zero, one = number("floor", GELU_FLOOR), number("zero", 0.0), number("one", 1.0)
        matrix, high = _matrix_and_maximum(g, x)
        span = g.node("Add", [high, floor], x.step(g, "span"))
        exact = g.node("Div", [number("reach", GELU_FLOOR * _MOST), span], x.step(g, "exact"))
        exact = g.node("Clip", [exact, zero, number("most", _MOST - 1)], x.step(g, "clipped"))
        whole = g.node("Floor", [exact], x.step(g, "whole"))
        below_one = g.node("Min", [exact, one], x.step(g, "below_one"))
        divisor = g.node("Max", [whole, below_one], x.step(g, "divisor"))
        scale = g.node("Div", [floor, divisor], x.step(g, "scale"))
        zero_point = g.node("Cast", [whole], x.step(g, "zero_point"), to=TensorProto.UINT8)
        values = g.node("QuantizeLinear", [matrix, scale, zero_point], x.step(g, "quantized"), axis=0)
        return self._remember(g, x, values, scale)

    def _remember(self, g: GraphBuilder, x: Activation, values: str, scale: str) -> Rows:
        column = g.node("Unsqueeze", [scale, g.constant("axis/last", [-1])], x.step(g, "column"))
        self._rows[x.value] = Rows(values=values, scale=column)
        return self._rows[x.value]

    def _middle(self, g: GraphBuilder, x: Activation, like: str) -> str:
        """Gives a vector of zero points 128, as long as `like`: QuantizeLinear needs one for each scale."""
        if x.rows not in self._middles:
            middle = g.constant("zero_point/as_float", float(ZERO_POINT), np.float32)
            vector = g.node("Clip", [like, middle, middle], x.step(g, "zero_point/as_float"))
            self._middles[x.rows] = g.node("Cast", [vector], x.step(g, "zero_point"), to=TensorProto.UINT8)
        return self._middles[x.rows]


def whole_and_rest(g: GraphBuilder, y: str, name: str, width: int) -> str:
    """Records the sum of both halves of a product of twice rounded rows: (2·N·rows, width) to (N·rows, width).

    Gather copies blocks of memory; onnxruntime's ReduceSum over the first axis takes twice as long as all of this.
    """
    pair = g.node("Reshape", [y, g.constant(f"shape/pair_of_{width}", (2, -1, width))], f"{name}/pair")
    whole = g.node("Gather", [pair, g.constant("index/whole", 0)], f"{name}/whole", axis=0)
    rest = g.node("Gather", [pair, g.constant("index/rest", 1)], f"{name}/rest", axis=0)
    rest = g.node("Mul", [rest, g.constant("scale/finer", 1 / _FINER, np.float32)], f"{name}/rest_scaled")
    return g.node("Add", [whole, rest], f"{name}/sum")


def simulate_symmetric(values: FloatArray, *, twice: bool = False) -> FloatArray:
    """Gives what `RowQuantizer.symmetric` makes of activations (rows, width), back in float32."""
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.float32(_SMALLEST)) / np.float32(STEPS)
    kept = np.rint(values / scale) * scale
    if twice:
        finer = scale / np.float32(_FINER)
        kept += np.clip(np.rint((values - kept) / finer), -ZERO_POINT, _MOST - ZERO_POINT) * finer
    return np.asarray(kept, np.float32)


def simulate_floored(values: FloatArray) -> FloatArray:
    """Gives what `RowQuantizer.floored` makes of activations (rows, width), back in float32."""
    floor = np.float32(GELU_FLOOR)
    exact = np.float32(GELU_FLOOR * _MOST) / (values.max(axis=1, keepdims=True) + floor)
    exact = np.clip(exact, 0, np.float32(_MOST - 1))
    whole = np.floor(exact)
    scale = floor / np.maximum(whole, np.minimum(exact, 1))
    steps = np.clip(np.rint(values / scale) + whole, 0, _MOST)
    return np.asarray(steps * scale - floor, np.float32)


def _matrix_and_maximum(g: GraphBuilder, x: Activation) -> tuple[str, str]:
    """Records the rows as a matrix (N·rows, width), and the largest value of each (N·rows,)."""
    shape = g.constant(f"shape/rows_of_{x.width}", (-1, x.width))
    matrix = g.node("Reshape", [x.value, shape], x.step(g, "rows"))
    return matrix, g.node("ReduceMax", [matrix, _columns(g)], x.step(g, "high"), keepdims=0)


def _columns(g: GraphBuilder) -> str:
    return g.constant("axis/columns", [1])


def _with_rest(g: GraphBuilder, x: Activation, matrix: str, values: str, scale: str, zero_point: str) -> str:
    """Records what rounding took off the rows, quantized in steps of scale / 254, below what it kept."""
    known = g.node("DequantizeLinear", [values, scale, zero_point], x.step(g, "known"), axis=0)
    rest = g.node("Sub", [matrix, known], x.step(g, "rest"))
    finer = g.node("Mul", [scale, g.constant("scale/finer", 1 / _FINER, np.float32)], x.step(g, "finer"))
    fine = g.node("QuantizeLinear", [rest, finer, zero_point], x.step(g, "fine"), axis=0)
    return g.node("Concat", [values, fine], x.step(g, "both"), axis=0)
