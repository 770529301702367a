"""A photo to measure with where none is given: the same bytes on every machine with the same Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from vit_runtime.pictures.formats import open_picture
from vit_runtime.pictures.reading import read_rgb
from vit_runtime.selftest import waves

_SIZE_HW: Final = (960, 1280)
_NOISE: Final = 12.0
"""Standard deviation, of 255: a JPEG then takes about as many bytes for a pixel as one of a real scene."""


def write_photo(path: Path) -> Path:
    """Writes a JPEG of 1.2 megapixels, made by formula."""
    noise = np.random.default_rng(0).normal(0.0, _NOISE, (*_SIZE_HW, 1))
    pixels = np.clip(waves(_SIZE_HW) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=85)
    return path


def describe_photo(path: Path) -> str:
    """Its size and format, not its name: "1280x960 JPEG, 310 kB".

    Raises:
        ImageError: it is no picture.
    """
    read_rgb(path)
    with path.open("rb") as file, open_picture(file) as image:
        return f"{image.width}x{image.height} {image.format}, {path.stat().st_size / 1e3:.0f} kB"
