"""Photos to model pixels with Pillow and NumPy: the same bytes as the reference's transforms on a PIL image.

The rules for sizes are those of `torchvision.transforms.functional` (`resize`, `center_crop`), which timm uses too, and
of `transformers.image_transforms`, which differs where the middle lies between two pixels; the resampling is Pillow's
in all of them. Rescaling to 0..1 and normalisation are folded into the model's first layer, so the model takes these
bytes as they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Interpolation, Preprocessing
from vit_runtime.images import ImageSource, read_rgb

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
    return _centre_crop(np.asarray(image), preprocessing)


def crop_box(size_wh: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """The part of a photo that the model sees: left, top, right and bottom in pixels of the photo.

    It reaches beyond the photo where that is padded.
    """
    width, height = _resized_wh(size_wh, preprocessing)
    crop_height, crop_width = preprocessing.crop_hw
    top, left = _start(height, crop_height, preprocessing), _start(width, crop_width, preprocessing)
    across, down = size_wh[0] / width, size_wh[1] / height
    return left * across, top * down, (left + crop_width) * across, (top + crop_height) * down


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


def _centre_crop(pixels: UInt8Array, preprocessing: Preprocessing) -> UInt8Array:
    """Crops the middle; where the picture is smaller than the crop, it is padded with black first."""
    (height, width), (crop_height, crop_width) = pixels.shape[:2], preprocessing.crop_hw
    top, left = _start(height, crop_height, preprocessing), _start(width, crop_width, preprocessing)
    if height < crop_height or width < crop_width:
        above, before = max(-top, 0), max(-left, 0)
        below, behind = max(crop_height - height, 0) - above, max(crop_width - width, 0) - before
        pixels = np.pad(pixels, ((above, below), (before, behind), (0, 0)))
        top, left = max(top, 0), max(left, 0)
    cropped: UInt8Array = pixels[top : top + crop_height, left : left + crop_width].copy()
    return cropped


def _start(size: int, crop: int, preprocessing: Preprocessing) -> int:
    """Where the crop starts along an edge; below zero where the picture is smaller."""
    if preprocessing.crop_rounding == "down":
        return (size - crop) // 2
    if size < crop:
        return -((crop - size) // 2)  # torchvision pads the odd row below
    return round((size - crop) / 2.0)  # Python rounds halves to even here, exactly as torchvision does
