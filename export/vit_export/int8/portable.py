"""int8 activations as TensorRT wants them: symmetric, so that every zero point is zero.

GELU's output is hardly ever below zero. So half its range is subtracted first, which uses both halves of int8, and the
bias makes up for it. Most of GELU's output is zero, which lies on the grid. From pixels 128 is subtracted in the same
way, exactly.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vit_export.int8.qdq import Grid, QdqInt8
from vit_export.int8.rounding import INT8_MAX
from vit_export.int8.rows import GELU_FLOOR
from vit_export.write.lowering import Activation


class PortableInt8(QdqInt8):
    """Activations in int8 around zero."""

    step_type: ClassVar[type[np.int8] | type[np.uint8]] = np.int8

    def grid(self, x: Activation) -> Grid:
        """Covers as much below zero as above it; GELU's output and pixels are moved there."""
        if x.kind == "pixels":
            return Grid(scale=1.0, shift=128.0)
        seen = self.range_of(x)
        if x.kind != "gelu":
            return Grid(scale=seen.largest / INT8_MAX)
        high = max(seen.high, GELU_FLOOR)
        scale = (high + GELU_FLOOR) / 2 / INT8_MAX
        return Grid(scale=scale, shift=round((high - GELU_FLOOR) / 2 / scale) * scale)
