"""Turns photos into model pixels with Pillow and NumPy: the same bytes that the reference makes of a PIL image.

The rules for sizes are those of `torchvision.transforms.functional` (`resize`, `center_crop`), which timm uses too, and
of `transformers.image_transforms`, which differs where the middle lies between two pixels; the resampling is Pillow's
in all of them. Rescaling to 0..1 and normalisation are folded into the model's first layer, so the model takes these
bytes as they are.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
from PIL import Image

from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Interpolation, Preprocessing
from vit_runtime.errors import ImageError
from vit_runtime.pictures.limits import LIMITS, Limits
from vit_runtime.pictures.reading import ImageSource, read_rgb, source_name

Decode: TypeAlias = Literal["exact", "fast"]
"""How to get from a photo to the model's pixels: to the reference's bytes, or to nearly the same in less time."""

RESAMPLING: Final[dict[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

LARGEST_ENLARGED: Final = 1 << 24
"""Most pixels that enlarging may make, 67 MB in Pillow; a picture that scaling makes smaller may have more."""


def load_pixels(
    source: ImageSource,
    preprocessing: Preprocessing,
    *,
    decode: Decode = "exact",
    limits: Limits = LIMITS,
    name: str | None = None,
) -> UInt8Array:
    """Reads, turns upright, resizes and crops a picture: uint8 RGB (H, W, 3), where H and W are the crop's.

    Raises:
        ImageError: the source is missing, empty, truncated, no image, an array of another shape or dtype, or so long
            and narrow that it would be scaled to more than `LARGEST_ENLARGED` pixels.
    """
    name = source_name(source) if name is None else name
    return fit(read_rgb(source, limits=limits, name=name), preprocessing, name)


def fit(image: Image.Image, preprocessing: Preprocessing, name: str = "picture") -> UInt8Array:
    """Resizes and centre-crops an RGB picture: uint8 (H, W, 3).

    Args:
        image: upright, RGB, 8 bits.
        preprocessing: the sizes to resize and crop to, and how.
        name: what to call the picture in a message.

    Raises:
        ImageError: the picture is so long and narrow that it would be scaled to more than `LARGEST_ENLARGED` pixels.
    """
    (width, height), size_wh = image.size, _resized_wh(image.size, preprocessing)
    # Checked before anything is allocated: 1x65000 pixels, scaled to a short edge of 224, are three thousand million.
    if size_wh[0] * size_wh[1] > max(LARGEST_ENLARGED, width * height):
        found = f"too long and narrow: {width}x{height} would be scaled to {size_wh[0]}x{size_wh[1]}"
        raise ImageError(name, found, "crop it first")
    if image.size != size_wh:
        image = image.resize(size_wh, RESAMPLING[preprocessing.interpolation])
    return _centre_crop(image, preprocessing)


def crop_box(size_wh: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """The part of a photo that the model sees: left, top, right and bottom in pixels of the photo.

    This part reaches beyond the photo where the photo is padded.
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


def _centre_crop(image: Image.Image, preprocessing: Preprocessing) -> UInt8Array:
    """Crops the middle; where the picture is smaller than the crop, it is padded with black."""
    (width, height), (crop_height, crop_width) = image.size, preprocessing.crop_hw
    top, left = _start(height, crop_height, preprocessing), _start(width, crop_width, preprocessing)
    bottom, right = top + crop_height, left + crop_width
    # Pillow cuts first: only the crop becomes an array.
    pixels = np.array(image.crop((max(left, 0), max(top, 0), min(right, width), min(bottom, height))))
    if pixels.shape[:2] != preprocessing.crop_hw:
        rows, columns = (max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))
        pixels = np.pad(pixels, (rows, columns, (0, 0)))
    return pixels


def _start(size: int, crop: int, preprocessing: Preprocessing) -> int:
    """Where the crop starts along an edge; below zero where the picture is smaller."""
    if preprocessing.crop_rounding == "down":
        return (size - crop) // 2
    if size < crop:
        return -((crop - size) // 2)  # torchvision pads the odd row below
    return round((size - crop) / 2.0)  # Python rounds halves to even here, exactly as torchvision does
