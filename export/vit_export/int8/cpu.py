"""int8 linear layers for onnxruntime's CPU provider: uint8 activations times int8 weights, in explicit operators.

`MatMulIntegerToFloat` multiplies integers and cannot be missed by a fusion, unlike QuantizeLinear and DequantizeLinear
around a MatMul. Everything else stays in float32. How an activation is quantized (docs/decisions/0005):

- **pixels** are uint8 already, exactly.
- **static**: one scale from calibration. This is for a LayerNorm's output, from the second block on.
- **by row**: each token has its own scale, measured while the model runs. This is for the outputs of attention and
  GELU: there some tokens are ten times larger than others, and the class token, which decides the answer, is among the
  small ones. Without calibration all activations but the pixels are quantized by row. One picture's answer never
  depends on the others in its batch.
- **by row, twice**: two roundings make 16 bits. This is for some or all of the first block, whose errors pass through
  all other blocks, and for the last block's class token, where a second product is one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Literal

import numpy as np

from vit_export.int8.rounding import QuantizedWeight, Range
from vit_export.int8.rows import (
    GELU_FLOOR,
    STEPS,
    ZERO_POINT,
    RowQuantizer,
    simulate_floored,
    simulate_symmetric,
    whole_and_rest,
)
from vit_export.write.builder import GraphBuilder
from vit_export.write.graph import PATCH_PROJECTION
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Attended, Float32, fused_attention
from vit_export.write.rotary import Rotation
from vit_export.write.sizes import Sizes
from vit_runtime.arrays import FloatArray

WeightRounder = Callable[[str, Linear], QuantizedWeight]
"""Gives a linear layer's int8 weights by the layer's path in the graph."""
_Way = Literal["exact", "static", "row", "floored row", "row twice"]

_FIRST_BLOCK: Final = "encoder/0/"
_TWICE: Final = (f"{_FIRST_BLOCK}attention/mixed", f"{_FIRST_BLOCK}mlp/gelu", f"{_FIRST_BLOCK}mlp/gated")
"""The two of the first block's four activations that gain most by 16 bits. Without calibration all four have them."""


class CpuInt8:
    """Linear layers in int8, the head and `keep_float` in float32."""

    constant_scales: ClassVar[bool] = False
    """Whether one scale serves all rows; here attention's and GELU's outputs have one for each row."""

    def __init__(
        self, weights: WeightRounder, ranges: Mapping[str, Range], keep_float: frozenset[str] = frozenset()
    ) -> None:
        """Takes int8 weights by layer, calibrated ranges by site (none: all is by row), and paths of float layers."""
        self._weights = weights
        self._static_scales = {site: seen.largest / STEPS for site, seen in ranges.items()}
        self._keep_float = keep_float
        self._float = Float32()
        self._static_values: dict[str, str] = {}
        self._row_quantizer = RowQuantizer()

    def pixels(self, g: GraphBuilder, pixels: str) -> str:
        """Leaves pixels as they are: they are uint8 already, exactly."""
        return self._float.pixels(g, pixels) if PATCH_PROJECTION in self._keep_float else pixels

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Records int8, or float where asked for and for the head.

        The head's one row a picture costs nothing, and its error is the answer's.
        """
        path = g.path(name)
        if x.kind == "head" or path in self._keep_float:
            return self._float.linear(g, x, name, layer)
        way = self._way(x)
        if way == "exact":
            return self._product(g, x.value, g.constant("scale/one", 1.0, np.float32), "", name, layer)
        if way == "static":
            middle = g.constant("zero_point/middle", ZERO_POINT, np.uint8)
            scale = g.constant(f"scale/{x.site}", self._static_scales[x.site], np.float32)
            return self._product(g, self._static(g, x, scale, middle), scale, middle, name, layer)
        return self._by_row(g, x, way, name, layer)

    def attention(
        self, g: GraphBuilder, qkv: tuple[str, str, str], arch: Sizes, *, queries: int, probabilities: bool
    ) -> Attended:
        """Records the fused operator, in float32."""
        return fused_attention(g, qkv, arch, queries=queries, probabilities=probabilities)

    def rotated(self, g: GraphBuilder, x: str, rotation: Rotation, arch: Sizes, name: str) -> str:
        """Records rotated queries or keys in float32."""
        return self._float.rotated(g, x, rotation, arch, name)

    def activation(self, g: GraphBuilder, x: str, arch: Sizes) -> str:
        """Records GELU as in float32: the tanh form would save one percent of the time for a tenth more error."""
        return self._float.activation(g, x, arch)

    def simulate(self, x: Activation, values: FloatArray) -> FloatArray:
        """Gives activations (rows, width) as the int8 product sees them, back in float32."""
        way = self._way(x)
        if way == "exact":
            return values
        if way == "static":
            scale = np.float32(self._static_scales[x.site])
            return np.asarray(np.clip(np.rint(values / scale), -ZERO_POINT, 255 - ZERO_POINT) * scale, np.float32)
        if way == "floored row":
            return simulate_floored(values)
        return simulate_symmetric(values, twice=way == "row twice")

    def _way(self, x: Activation) -> _Way:
        if x.kind in ("pixels", "head"):
            return "exact"
        twice = _TWICE if self._static_scales else (_FIRST_BLOCK,)
        if x.alone or x.site.startswith(twice):
            return "row twice"
        if x.kind == "gelu":
            return "floored row"
        # A picture outside its calibrated range would ruin the first block; a scale by row needs no range.
        calibrated = x.site in self._static_scales and not x.site.startswith(_FIRST_BLOCK)
        return "static" if calibrated and x.kind == "normalised" else "row"

    def _product(self, g: GraphBuilder, values: str, scale: str, zero_point: str, name: str, layer: Linear) -> str:
        weight, weight_scale, weight_zero_point = self._int8_weight(g, g.path(name), layer)
        bias = g.weight(f"{layer.key}.bias", (layer.shape[0],), layer.bias)
        inputs = [values, weight, scale, weight_scale, zero_point, weight_zero_point, bias]
        return g.contrib_node("MatMulIntegerToFloat", inputs, name)

    def _by_row(self, g: GraphBuilder, x: Activation, way: _Way, name: str, layer: Linear) -> str:
        """Records y = row_scale · (q Wᵀ) + b: (N, rows, in) to (N, rows, out)."""
        path, outputs = g.path(name), layer.shape[0]
        floored, twice = way == "floored row", way == "row twice"
        quantizer = self._row_quantizer
        rows = quantizer.floored(g, x) if floored else quantizer.symmetric(g, x, twice=twice)
        weight, weight_scale, weight_zero_point = self._int8_weight(g, path, layer)
        one = g.constant("scale/one", 1.0, np.float32)
        middle = "" if floored else g.constant("zero_point/middle", ZERO_POINT, np.uint8)
        inputs = [rows.values, weight, one, weight_scale, middle, weight_zero_point]
        y = g.contrib_node("MatMulIntegerToFloat", inputs, f"{name}/product")  # (N·rows, out), or twice as many rows
        if twice:
            y = whole_and_rest(g, y, name, outputs)
        y = g.node("Mul", [y, rows.scale], f"{name}/scaled")

        def bias() -> FloatArray:
            if not floored:
                return layer.bias()
            shift = GELU_FLOOR * self._weights(path, layer).dequantized().sum(axis=1, dtype=np.float64)
            return np.asarray(layer.bias() - shift, np.float32)

        y = g.node("Add", [y, g.weight(f"{layer.key}.bias", (outputs,), bias)], f"{name}/biased")
        shape = g.constant(f"shape/{x.rows}_rows_of_{outputs}", (-1, x.rows, outputs))
        return g.node("Reshape", [y, shape], name)

    def _int8_weight(self, g: GraphBuilder, path: str, layer: Linear) -> tuple[str, str, str]:
        outputs, inputs = layer.shape
        weight = g.weight(
            f"{layer.key}.weight", (inputs, outputs), lambda: self._weights(path, layer).values.T, np.int8
        )
        scale = g.weight(f"{layer.key}.weight_scale", (outputs,), lambda: self._weights(path, layer).scale)
        # Zero is the default. But onnxruntime turns the weights into uint8 for processors without VNNI: there version
        # 1.20 needs an explicit zero, and all versions need one for each layer.
        zero = g.weight(f"{layer.key}.weight_zero_point", (), lambda: np.zeros((), np.int8), np.int8)
        return weight, scale, zero

    def _static(self, g: GraphBuilder, x: Activation, scale: str, zero_point: str) -> str:
        if x.value not in self._static_values:
            values = g.node("QuantizeLinear", [x.value, scale, zero_point], x.step(g, "quantized"))
            self._static_values[x.value] = values
        return self._static_values[x.value]
