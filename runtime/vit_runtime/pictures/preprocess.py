"""Turns photos into model pixels with Pillow and NumPy: the bytes that the reference makes of a PIL image, or nearly.

The rules for sizes are those of `torchvision.transforms.functional` (`resize`, `center_crop`), which timm uses too, and
of `transformers.image_transforms`, which differs where the middle lies between two pixels; the resampling is Pillow's
in all of them. Rescaling to 0..1 and normalisation are folded into the model's first layer, so the model takes these
bytes as they are.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Interpolation, Preprocessing
from vit_runtime.errors import ImageError, UsageError, option
from vit_runtime.pictures.decoding import Stored, turned_wh
from vit_runtime.pictures.limits import LIMITS, Limits
from vit_runtime.pictures.reading import ImageSource, read_rgb, read_stored, source_name

Decode: TypeAlias = Literal["exact", "fast"]
"""How to get from a photo to the model's pixels: to the reference's bytes, or to nearly the same in less time."""

RESAMPLING: Final[dict[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_LEAST_SCALE: Final = 1.75
"""How much larger than needed a JPEG is decoded at least: below that the answers change more than by int8 (see
docs/decisions/0018-fast-decoding.md)."""
_LEAST_AFTER_AVERAGING: Final = 3
"""How much larger than needed a picture is left when blocks of its pixels are averaged before it is resampled."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation, as in `ImageOps.exif_transpose`."""
_MIRRORED_ACROSS: Final = (2, 3, 6, 7)
_MIRRORED_DOWN: Final = (3, 4, 7, 8)

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

    "exact" gives the reference's bytes. "fast" decodes a JPEG at a half, quarter or eighth of its size where at least
    1.75 times the size that is needed is left, averages blocks of what is still much larger, and resamples only the
    part that the model sees. It gives the same bytes where a picture is not made smaller, or resized by "nearest".

    Args:
        source: the picture.
        preprocessing: the sizes to resize and crop to, and how.
        decode: "exact" or "fast".
        limits: what the picture may cost.
        name: what to call it in a message, if not by its path or kind.

    Raises:
        ImageError: the source is missing, empty, truncated, no image, an array of another shape or dtype, beyond its
            limits, or so long and narrow that it would be scaled to more than `LARGEST_ENLARGED` pixels.
        UsageError: no such way to decode.
    """
    return load_with_size(source, preprocessing, decode=decode, limits=limits, name=name)[0]


def load_with_size(
    source: ImageSource,
    preprocessing: Preprocessing,
    *,
    decode: Decode = "exact",
    limits: Limits = LIMITS,
    name: str | None = None,
) -> tuple[UInt8Array, tuple[int, int]]:
    """Gives a picture as `load_pixels` does, and the width and height of the upright photo that it was made of."""
    if decode not in get_args(Decode):
        raise UsageError(option("decode"), f"{decode!r} is not one of {', '.join(get_args(Decode))}")
    name = source_name(source) if name is None else name
    if decode == "exact" or preprocessing.interpolation == "nearest":
        photo = read_rgb(source, limits=limits, name=name)
        return fit(photo, preprocessing, name), photo.size

    def least(size_wh: tuple[int, int]) -> tuple[int, int]:
        width, height = _resized_wh(size_wh, preprocessing)
        return math.ceil(_LEAST_SCALE * width), math.ceil(_LEAST_SCALE * height)

    stored = read_stored(source, least, limits=limits, name=name)
    return _fit_stored(stored, preprocessing, name), stored.upright_wh


def fit(image: Image.Image, preprocessing: Preprocessing, name: str = "picture") -> UInt8Array:
    """Resizes and centre-crops an RGB picture: uint8 (H, W, 3), to the reference's bytes.

    Args:
        image: upright, RGB, 8 bits.
        preprocessing: the sizes to resize and crop to, and how.
        name: what to call the picture in a message.

    Raises:
        ImageError: the picture is so long and narrow that it would be scaled to more than `LARGEST_ENLARGED` pixels.
    """
    size_wh = _checked_wh(image.size, preprocessing, name)
    if image.size != size_wh:
        image = image.resize(size_wh, RESAMPLING[preprocessing.interpolation])
    # Pillow cuts first: only the crop becomes an array.
    return _padded(np.array(image.crop(_visible(size_wh, preprocessing))), size_wh, preprocessing)


def _fit_stored(photo: Stored, preprocessing: Preprocessing, name: str) -> UInt8Array:
    """Resamples the part that the model sees, from what was decoded and as it lies, and then turns it upright."""
    size_wh = _checked_wh(photo.upright_wh, preprocessing, name)
    turn = _TURNS.get(photo.orientation)
    if not photo.is_reduced and all(new >= old for new, old in zip(size_wh, photo.upright_wh, strict=True)):
        return fit(photo.image if turn is None else photo.image.transpose(turn), preprocessing, name)
    left, top, right, bottom = _visible(size_wh, preprocessing)
    width, height = size_wh
    stored = _as_stored((left / width, top / height, right / width, bottom / height), photo.orientation)
    across, down = photo.seen_wh
    image = photo.image.resize(
        turned_wh((right - left, bottom - top), photo.orientation),
        RESAMPLING[preprocessing.interpolation],
        box=(stored[0] * across, stored[1] * down, stored[2] * across, stored[3] * down),
        reducing_gap=_LEAST_AFTER_AVERAGING,
    )
    pixels = np.array(image if turn is None else image.transpose(turn))
    return _padded(pixels, size_wh, preprocessing)


def _as_stored(box: tuple[float, float, float, float], orientation: int) -> tuple[float, float, float, float]:
    """Where a part of the upright picture, in shares of its sides, lies in the picture as it is stored."""
    left, top, right, bottom = box
    if orientation in _MIRRORED_ACROSS:
        left, right = 1 - right, 1 - left
    if orientation in _MIRRORED_DOWN:
        top, bottom = 1 - bottom, 1 - top
    return (left, top, right, bottom) if turned_wh((0, 1), orientation) == (0, 1) else (top, left, bottom, right)


def crop_box(size_wh: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """The part of a photo that the model sees: left, top, right and bottom in pixels of the photo.

    This part reaches beyond the photo where the photo is padded.
    """
    width, height = _resized_wh(size_wh, preprocessing)
    left, top, right, bottom = _crop((width, height), preprocessing)
    across, down = size_wh[0] / width, size_wh[1] / height
    return left * across, top * down, right * across, bottom * down


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


def _checked_wh(size_wh: tuple[int, int], preprocessing: Preprocessing, name: str) -> tuple[int, int]:
    """The size to scale a picture to, checked before anything is allocated.

    1x65000 pixels, scaled to a short edge of 224, are three thousand million.
    """
    width, height = _resized_wh(size_wh, preprocessing)
    if width * height > max(LARGEST_ENLARGED, size_wh[0] * size_wh[1]):
        found = f"too long and narrow: {size_wh[0]}x{size_wh[1]} would be scaled to {width}x{height}"
        raise ImageError(name, found, "crop it first")
    return width, height


def _crop(size_wh: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the crop in the resized picture; it reaches beyond a picture that is smaller."""
    (width, height), (crop_height, crop_width) = size_wh, preprocessing.crop_hw
    left, top = _start(width, crop_width, preprocessing), _start(height, crop_height, preprocessing)
    return left, top, left + crop_width, top + crop_height


def _visible(size_wh: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """The part of the crop that the resized picture fills."""
    left, top, right, bottom = _crop(size_wh, preprocessing)
    return max(left, 0), max(top, 0), min(right, size_wh[0]), min(bottom, size_wh[1])


def _padded(pixels: UInt8Array, size_wh: tuple[int, int], preprocessing: Preprocessing) -> UInt8Array:
    """Adds black where the picture is smaller than the crop."""
    if pixels.shape[:2] == preprocessing.crop_hw:
        return pixels
    left, top, right, bottom = _crop(size_wh, preprocessing)
    rows, columns = (max(-top, 0), max(bottom - size_wh[1], 0)), (max(-left, 0), max(right - size_wh[0], 0))
    return np.pad(pixels, (rows, columns, (0, 0)))


def _start(size: int, crop: int, preprocessing: Preprocessing) -> int:
    """Where the crop starts along an edge; below zero where the picture is smaller."""
    if preprocessing.crop_rounding == "down":
        return (size - crop) // 2
    if size < crop:
        return -((crop - size) // 2)  # torchvision pads the odd row below
    return round((size - crop) / 2.0)  # Python rounds halves to even here, exactly as torchvision does
