"""int8 linear layers in standard operators: QuantizeLinear and DequantizeLinear around MatMul.

Compilers of other runtimes make int8 products of this form. Weights are int8, symmetric, with one scale an output
channel. Activations have one calibrated grid a tensor, which each target lays out as its kernels want it.

One constant scale has to serve all rows. How much of a calibrated range it should cover was measured (docs/log.md,
portable int8).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from vit_export.int8.cpu import WeightRounder
from vit_export.int8.rounding import Range
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Float32, Kind
from vit_runtime.arrays import FloatArray

_ROOM: Final[Mapping[Kind, float]] = {"normalised": 1.0, "mixed": 1.4, "gelu": 1.0, "gated": 1.4}
"""How many times its calibrated range an activation's steps cover, by its kind."""
_ROOM_OF_CLASS_TOKEN: Final = 2.0
"""The same where the class token is alone: calibration sees one row a picture, too little for a sure range."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The steps of one activation: a value is shift + scale · (step - zero_point)."""

    scale: float
    zero_point: int = 0
    shift: float = 0.0
    """Is taken off the values before they are quantized; the layer's bias makes up for it."""


class QdqInt8(Float32, ABC):
    """Linear layers in int8, the head and `keep_float` in float32, all of it in standard operators."""

    constant_scales: ClassVar[bool] = True
    """Whether one scale serves all rows, even those of GELU's output."""
    step_type: ClassVar[type[np.int8] | type[np.uint8]]
    """The type of an activation's steps."""

    def __init__(
        self, weights: WeightRounder, ranges: Mapping[str, Range], keep_float: frozenset[str] = frozenset()
    ) -> None:
        """Takes int8 weights by layer, calibrated ranges by site, and the paths of float layers."""
        self._weights = weights
        self._ranges = ranges
        self._keep_float = keep_float
        self._quantized: dict[str, str] = {}

    def by_engine(self, x: Activation) -> bool:  # noqa: ARG002 - of other targets
        """Whether the engine quantizes an activation by itself while it runs, in front of int8 weights."""
        return False

    @abstractmethod
    def grid(self, x: Activation) -> Grid:
        """Lays the steps of an activation over the range that it was seen to have."""

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Records MatMul of dequantized int8, and Add."""
        path = g.path(name)
        if x.kind == "head" or path in self._keep_float:
            return super().linear(g, x, name, layer)
        by_engine = self.by_engine(x)
        shift = 0.0 if by_engine else self.grid(x).shift
        value = x.value if by_engine else self._activation(g, x)
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
        grid = self.grid(x)
        shift, scale = np.float32(grid.shift), np.float32(grid.scale)
        ends = np.iinfo(self.step_type)
        steps = np.clip(np.rint((values - shift) / scale) + grid.zero_point, ends.min, ends.max)
        return np.asarray((steps - grid.zero_point) * scale + shift, np.float32)

    def range_of(self, x: Activation) -> Range:
        """The range that an activation's steps should cover; zero is in it."""
        seen = self._ranges[x.site]
        # The last block's query reads the class token alone, but its range was calibrated on all tokens.
        alone = x.alone and x.kind not in ("gelu", "gated") and not x.site.endswith("attention/input")
        room = _ROOM_OF_CLASS_TOKEN if alone else _ROOM[x.kind]
        return Range(low=room * min(seen.low, 0.0), high=room * max(seen.high, 0.0))

    def _activation(self, g: GraphBuilder, x: Activation) -> str:
        if x.value in self._quantized:
            return self._quantized[x.value]
        steps, value = self.grid(x), x.value
        if steps.shift:
            shift = g.constant(f"shift/{x.site}", steps.shift, np.float32)
            value = g.node("Sub", [value, shift], x.step(g, "centred"))
        scale = g.constant(f"scale/{x.site}", steps.scale, np.float32)
        zero_point = g.constant(f"zero_point/{steps.zero_point}", steps.zero_point, self.step_type)
        value = g.node("QuantizeLinear", [value, scale, zero_point], x.step(g, "quantized"))
        value = g.node("DequantizeLinear", [value, scale, zero_point], x.step(g, "dequantized"))
        self._quantized[x.value] = value
        return value
