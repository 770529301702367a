"""int8 linear layers in standard operators: QuantizeLinear and DequantizeLinear around MatMul.

TensorRT and OpenVINO compile this form to int8 kernels. Activations are int8, symmetric, with one calibrated scale a
tensor; weights are int8, symmetric, with one scale an output channel. GELU's output is hardly ever below zero. So half
its range is subtracted first, which uses both halves of int8, and the bias makes up for it. Most of GELU's output is
zero, which lies on the grid. From pixels 128 is subtracted in the same way, exactly.

One constant scale has to serve all rows. How much of a calibrated range it should cover was measured (docs/log.md,
portable int8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from onnx import TensorProto

from vit_export.int8.cpu import WeightRounder
from vit_export.int8.rounding import INT8_MAX, Range
from vit_export.int8.rows import GELU_FLOOR
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Float32, Kind
from vit_runtime.arrays import FloatArray

_ROOM: Final[Mapping[Kind, float]] = {"normalised": 1.0, "mixed": 1.4}
"""Share of the calibrated range that the int8 steps cover, by the kind of activation."""
_ROOM_OF_CLASS_TOKEN: Final = 2.0
"""The same where the class token is alone: calibration sees one row a picture, too little for a sure range."""


class PortableInt8(Float32):
    """Linear layers in int8, the head and `keep_float` in float32, all of it in standard operators."""

    def __init__(
        self, weights: WeightRounder, ranges: Mapping[str, Range], keep_float: frozenset[str] = frozenset()
    ) -> None:
        """Takes int8 weights by layer, calibrated ranges by site, and the paths of float layers."""
        self._weights = weights
        self._ranges = ranges
        self._keep_float = keep_float
        self._quantized: dict[str, str] = {}

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Records MatMul of dequantized int8, and Add."""
        path = g.path(name)
        if x.kind == "head" or path in self._keep_float:
            return super().linear(g, x, name, layer)
        shift, _ = self._grid(x)
        value = self._activation(g, x)
        outputs, inputs = layer.shape
        weight = g.weight(
            f"{layer.key}.weight", (inputs, outputs), lambda: self._weights(path, layer).values.T, np.int8
        )
        scale = g.weight(f"{layer.key}.weight_scale", (outputs,), lambda: self._weights(path, layer).scale)
        # Zero is the default; onnxruntime's conversion for processors without VNNI needs it stated, layer by layer.
        zeros = g.weight(f"{layer.key}.weight_zero_point", (outputs,), lambda: np.zeros(outputs, np.int8), np.int8)
        weight = g.node("DequantizeLinear", [weight, scale, zeros], f"{name}/weight", axis=1)
        product = g.node("MatMul", [value, weight], f"{name}/matmul")

        def bias() -> FloatArray:
            made_up = self._weights(path, layer).dequantized().sum(axis=1, dtype=np.float64) * shift
            return np.asarray(layer.bias() + made_up, np.float32)

        return g.node("Add", [product, g.weight(f"{layer.key}.bias", (outputs,), bias)], name)

    def simulate(self, x: Activation, values: FloatArray) -> FloatArray:
        """Gives activations (rows, width) as the int8 product sees them, back in float32."""
        if x.kind in ("pixels", "head"):
            return values
        shift, scale = self._grid(x)
        steps = np.clip(np.rint((values - np.float32(shift)) / np.float32(scale)), -INT8_MAX - 1, INT8_MAX)
        return np.asarray(steps * np.float32(scale) + np.float32(shift), np.float32)

    def _grid(self, x: Activation) -> tuple[float, float]:
        """Gives the number that is subtracted from an activation, and the scale of the rest."""
        if x.kind == "pixels":
            return 128.0, 1.0
        seen = self._ranges[x.site]
        if x.kind != "gelu":
            # The last block's query reads the class token alone, but its range was calibrated on all tokens.
            alone = x.alone and not x.site.endswith("attention/input")
            room = _ROOM_OF_CLASS_TOKEN if alone else _ROOM[x.kind]
            return 0.0, room * seen.largest / INT8_MAX
        high = max(seen.high, GELU_FLOOR)
        scale = (high + GELU_FLOOR) / 2 / INT8_MAX
        return round((high - GELU_FLOOR) / 2 / scale) * scale, scale

    def _activation(self, g: GraphBuilder, x: Activation) -> str:
        if x.value in self._quantized:
            return self._quantized[x.value]
        shift, scale = self._grid(x)
        value = x.value
        if x.kind == "pixels":
            value = g.node("Cast", [value], x.step(g, "float"), to=TensorProto.FLOAT)
        if shift:
            value = g.node("Sub", [value, g.constant(f"shift/{x.site}", shift, np.float32)], x.step(g, "centred"))
        grid = [g.constant(f"scale/{x.site}", scale, np.float32), g.constant("zero_point/zero", 0, np.int8)]
        value = g.node("QuantizeLinear", [value, *grid], x.step(g, "quantized"))
        value = g.node("DequantizeLinear", [value, *grid], x.step(g, "dequantized"))
        self._quantized[x.value] = value
        return value
