"""uint8 activations with a zero point, as OpenVINO's kernels for processors want them.

On some processors OpenVINO has its fast kernels for uint8 times int8 alone: on an Intel Xeon int8 activations took 7 %
longer for ViT-B/16, on an AMD EPYC the same time (docs/log.md, OpenVINO as a target). A zero point also puts all 256
steps where values are, without an operator in front.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from vit_export.int8.qdq import Grid, QdqInt8
from vit_export.int8.rounding import Range
from vit_export.int8.rows import GELU_FLOOR
from vit_export.write.lowering import Activation

_STEPS: Final = 255
"""Steps from the smallest uint8 to the largest."""


class OpenVinoInt8(QdqInt8):
    """Activations in uint8 from the least to the largest value."""

    step_type: ClassVar[type[np.int8] | type[np.uint8]] = np.uint8

    def grid(self, x: Activation) -> Grid:
        """Covers the range that was seen, with zero on a step; pixels are their own steps."""
        if x.kind == "pixels":
            return Grid(scale=1.0)
        seen = self.range_of(x)
        if x.kind == "gelu":
            seen = Range(low=-GELU_FLOOR, high=max(seen.high, GELU_FLOOR))
        scale = (seen.high - seen.low) / _STEPS or 1.0
        return Grid(scale=scale, zero_point=round(-seen.low / scale))
