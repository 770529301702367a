"""How a photo becomes the pixels that a model reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

LARGEST_EDGE: Final = 4096
"""Most pixels of an edge that a picture may be scaled or cropped to."""
_LEAST_STD: Final = 1e-6
"""Least standard deviation: what is divided by a smaller one may not fit into float32."""

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a photo becomes the model's pixels: resize, then centre crop; exactly one resize rule is set."""

    resize_shortest_edge: int | None
    """Scale the picture, keeping its proportions, until its shorter edge has this many pixels."""
    resize_hw: tuple[int, int] | None
    """Scale the picture to this height and width, whatever its proportions."""
    crop_hw: tuple[int, int]
    crop_rounding: Literal["half_even", "down"]
    """How a middle between two pixels is rounded: torchvision rounds halves to even, Hugging Face rounds down."""
    interpolation: Interpolation
    mean: tuple[float, float, float]
    """Mean of each RGB channel, on a scale of 0 to 1; `mean` and `std` are folded into the graph, and only recorded
    here."""
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if (self.resize_shortest_edge is None) == (self.resize_hw is None):
            raise ValueError("exactly one of resize_shortest_edge and resize_hw should be set")
        resize = self.resize_hw or (self.resize_shortest_edge,)
        sizes = [size for size in (*resize, *self.crop_hw) if size is not None]
        if min(sizes) < 1:
            raise ValueError("sizes should be at least 1 pixel")
        if max(sizes) > LARGEST_EDGE:
            raise ValueError(f"sizes should be at most {LARGEST_EDGE} pixels, found {max(sizes)}")
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError(f"mean {self.mean} and std {self.std} should be finite")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} should be above zero")
        if min(self.std) < _LEAST_STD or max(map(abs, (*self.mean, *self.std))) > 1 / _LEAST_STD:
            raise ValueError(f"mean {self.mean} and std {self.std} are of no pictures from 0 to 1")

    def __str__(self) -> str:
        edge, (height, width) = self.resize_shortest_edge, self.crop_hw
        exact = "" if self.resize_hw is None else f"to {self.resize_hw[0]}x{self.resize_hw[1]} (height x width)"
        resize = exact or f"the shortest edge to {edge}"
        return f"resize {resize} ({self.interpolation}), crop {height}x{width}, mean {self.mean}, std {self.std}"
