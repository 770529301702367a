"""uint8 activations with a zero point, as OpenVINO's kernels for processors want them.

On some processors OpenVINO has its fast kernels for uint8 times int8 alone: on an Intel Xeon int8 activations took 7 %
longer for ViT-B/16, on an AMD EPYC the same time (docs/log.md, OpenVINO as a target). A zero point also puts all 256
steps where values are, without an operator in front.

Behind attention, behind GELU and in the first block rows differ too much for one constant scale. There the file has the
weights alone in int8. On processors with VNNI OpenVINO then quantizes each row by itself, in groups, and elsewhere it
computes in float. On DeiT-Tiny this halves the error of the answers for 6 % of the time (docs/log.md).
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np

from vit_export.int8.qdq import Grid, QdqInt8
from vit_export.int8.rounding import INT8_MAX
from vit_export.write.lowering import Activation
from vit_runtime.arrays import FloatArray
from vit_runtime.devices.options import openvino_group

_STEPS: Final = 255
"""Steps from the smallest uint8 to the largest."""
_FIRST_BLOCK: Final = "encoder/0/"


class OpenVinoInt8(QdqInt8):
    """Activations in uint8 from the least to the largest value."""

    step_type: ClassVar[type[np.int8] | type[np.uint8]] = np.uint8
    constant_scales: ClassVar[bool] = False

    def by_engine(self, x: Activation) -> bool:
        """Says so where rows differ: behind attention, behind GELU, and in the first block."""
        return x.kind in ("mixed", "gelu", "gated") or x.site.startswith(_FIRST_BLOCK)

    def simulate(self, x: Activation, values: FloatArray) -> FloatArray:
        """Gives activations (rows, width) as the int8 product sees them; OpenVINO's own scales are by group."""
        if not self.by_engine(x):
            return super().simulate(x, values)
        inputs = values.shape[1]
        tokens = inputs // 4 if x.kind == "gelu" else inputs  # width of the model's tokens
        groups = values.reshape(len(values), -1, math.gcd(inputs, openvino_group(tokens)))
        scale = np.abs(groups).max(axis=-1, keepdims=True) / np.float32(INT8_MAX)
        scale[scale == 0] = 1.0
        return np.asarray(np.rint(groups / scale) * scale, np.float32).reshape(values.shape)

    def grid(self, x: Activation) -> Grid:
        """Covers the range that was seen, with zero on a step; pixels are their own steps."""
        if x.kind == "pixels":
            return Grid(scale=1.0)
        seen = self.range_of(x)
        scale = (seen.high - seen.low) / _STEPS or 1.0
        return Grid(scale=scale, zero_point=round(-seen.low / scale))
