"""Rotary positions: queries and keys are turned by angles that grow with a patch's place, so products see distances.

Su et al. 2021, "RoFormer", equation 34. The first half of a head's numbers are the first coordinates of points, the
second half the second ones: (a, b) becomes (a cos - b sin, b cos + a sin). Angles depend on the size of the picture
alone, so their cosines and sines are constants here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from vit_export.write.builder import GraphBuilder
from vit_export.write.sizes import Sizes
from vit_export.write.weights import WeightSource
from vit_runtime.arrays import FloatArray


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The cosines and sines of a block's angles, made when they are written."""

    key: str
    """Prefix of their names: `KEY.cos` and `KEY.sin`, (S, K/2), or (H, S, K/2) where heads differ."""
    weights: WeightSource

    def cos(self) -> FloatArray:
        """Cosines (S, H or 1, 1, K/2)."""
        return self._by_token("cos")[:, :, None]

    def signed_sin(self) -> FloatArray:
        """Sines (S, H or 1, 2, K/2), with a minus for the first coordinates."""
        sin = self._by_token("sin")
        return np.stack([-sin, sin], axis=2)

    def _by_token(self, name: str) -> FloatArray:
        table = self.weights(f"{self.key}.{name}")
        return table[:, None] if table.ndim == 2 else table.transpose(1, 0, 2)


def rotated(g: GraphBuilder, x: str, rotation: Rotation, arch: Sizes, name: str, dtype: DTypeLike = np.float32) -> str:
    """Records rotated queries or keys under a name below the current scope: (N, S, D) to (N, S, D)."""
    tokens, half = arch.tokens, arch.width // arch.heads // 2
    heads = arch.heads if arch.rotary == "by_head" else 1
    cos = g.shared_weight(f"{rotation.key}.cos", (tokens, heads, 1, half), lambda: rotation.cos().astype(dtype), dtype)
    sin = g.shared_weight(
        f"{rotation.key}.sin", (tokens, heads, 2, half), lambda: rotation.signed_sin().astype(dtype), dtype
    )
    points = g.constant("shape/points", (0, tokens, arch.heads, 2, half))
    y = g.node("Reshape", [x, points], f"{name}/points")  # (N, S, H, 2, K/2)
    swapped = g.node("Gather", [y, g.constant("index/swapped", [1, 0])], f"{name}/swapped", axis=3)
    kept = g.node("Mul", [y, cos], f"{name}/cos")
    moved = g.node("Mul", [swapped, sin], f"{name}/sin")
    y = g.node("Add", [kept, moved], f"{name}/turned")
    return g.node("Reshape", [y, g.constant("shape/tokens", (0, tokens, arch.width))], f"{name}/rotary")
