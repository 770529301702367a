"""Pictures made from a seed, for tests of every package."""

from __future__ import annotations

import numpy as np
from PIL import Image


def blots(seed: int, size_wh: tuple[int, int] = (64, 48), grid_hw: tuple[int, int] = (6, 8)) -> Image.Image:
    """Soft blots of colour: as smooth as a photo, and every corner of it looks different."""
    grid = np.random.default_rng(seed).integers(0, 256, (*grid_hw, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size_wh, Image.Resampling.BICUBIC)
