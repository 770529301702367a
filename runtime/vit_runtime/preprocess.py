"""Photos to model pixels with Pillow and NumPy: the same bytes as torchvision's transforms on a PIL image.

The rules for sizes are those of `torchvision.transforms.functional` (`resize`, `center_crop`) as used by
`torchvision.transforms._presets.ImageClassification`; the resampling is Pillow's in both. Rescaling to 0..1
and normalisation are folded into the model's first layer, so the model takes these bytes as they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from vit_runtime.artifact import Interpolation, Preprocessing
from vit_runtime.images import ImageSource, UInt8Array, read_rgb

RESAMPLING: Final[dict[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def load_pixels(source: ImageSource, preprocessing: Preprocessing) -> UInt8Array:
    """Reads, turns upright, resizes and crops a picture: uint8 RGB (H, W, 3), H and W those of the crop.

    Raises:
        ImageError: the source is missing, empty, truncated, no image, or an array of another shape or dtype.
    """
    return fit(read_rgb(source), preprocessing)


def fit(image: Image.Image, preprocessing: Preprocessing) -> UInt8Array:
    """Resizes and centre-crops an RGB picture: uint8 (H, W, 3)."""
    resample = RESAMPLING[preprocessing.interpolation]
    size_wh = _resized_wh(image.size, preprocessing)
    if image.size != size_wh:
        image = image.resize(size_wh, resample)
    return _centre_crop(np.asarray(image), preprocessing.crop_hw)


def _resized_wh(size_wh: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    if preprocessing.resize_hw is not None:
        height, width = preprocessing.resize_hw
        return width, height
    short = preprocessing.resize_shortest_edge
    assert short is not None  # noqa: S101 - the dataclass sees to it that one of the two rules is set
    width, height = size_wh
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def _centre_crop(pixels: UInt8Array, crop_hw: tuple[int, int]) -> UInt8Array:
    """Crops the middle; where the picture is smaller than the crop, it is padded with black first."""
    (height, width), (crop_height, crop_width) = pixels.shape[:2], crop_hw
    if height < crop_height or width < crop_width:
        rows, columns = max(crop_height - height, 0), max(crop_width - width, 0)
        pad = ((rows // 2, (rows + 1) // 2), (columns // 2, (columns + 1) // 2), (0, 0))
        pixels = np.pad(pixels, pad)
        height, width = pixels.shape[:2]
    # Python rounds halves to even here, exactly as torchvision's centre crop does.
    top, left = round((height - crop_height) / 2.0), round((width - crop_width) / 2.0)
    cropped: UInt8Array = pixels[top : top + crop_height, left : left + crop_width].copy()
    return cropped
