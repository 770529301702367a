"""Photos to model pixels with Pillow and NumPy: the same bytes as torchvision's transforms on a PIL image.

The rules for sizes are those of `torchvision.transforms.functional` (`resize`, `center_crop`) as used by
`torchvision.transforms._presets.ImageClassification`; the resampling is Pillow's in both. Rescaling to 0..1
and normalisation are folded into the model's first layer, so the model takes these bytes as they are.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from vit_runtime.artifact import Interpolation, Preprocessing
from vit_runtime.errors import ImageError

UInt8Array = npt.NDArray[np.uint8]
ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | UInt8Array"
"""Anything that is an image: path, encoded bytes, binary file, PIL image, or uint8 RGB array (H, W, 3)."""

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
    return pixels[top : top + crop_height, left : left + crop_width].copy()


def read_rgb(source: ImageSource) -> Image.Image:
    """Reads a picture as a person sees it: upright by its EXIF orientation, 8 bits, RGB.

    Grey, CMYK, palette, 16-bit and transparent pictures are converted as `Image.convert("RGB")` does; 16-bit
    ones are brought to 8 bits by their high byte, where Pillow would clip them to white. Transparency is
    dropped, not blended, as in torchvision's `ImageFolder` loader.

    Raises:
        ImageError: the source is missing, empty, truncated, no image, or an array of another shape or dtype.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(_checked_array(source))
    name = _name(source)
    try:
        with warnings.catch_warnings():
            # A large photo is no attack on a machine whose owner chose the file; Pillow still stops real bombs.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = source if isinstance(source, Image.Image) else _open(source, name)
            image.load()
            return _to_rgb(_upright(image), name)
    except UnidentifiedImageError:
        raise ImageError(name, "not an image in a format that Pillow reads", "use JPEG, PNG or WebP") from None
    except FileNotFoundError:
        raise ImageError(name, "no such file") from None
    except Image.DecompressionBombError as error:
        raise ImageError(name, f"too large ({error})", "scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(name, f"cannot be read ({error})", "the file may be damaged or cut off") from error


def _open(source: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> Image.Image:
    if isinstance(source, bytes):
        if not source:
            raise ImageError(name, "empty")
        return Image.open(io.BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            raise ImageError(name, "is a folder, not a picture")
        if path.stat().st_size == 0:
            raise ImageError(name, "empty file")
        return Image.open(path)
    if hasattr(source, "read"):
        return Image.open(source)
    raise ImageError(name, "not an image", "give a path, bytes, a binary file, a PIL image or a uint8 array (H, W, 3)")


def _checked_array(array: UInt8Array) -> UInt8Array:
    where = f"array of shape {array.shape} and dtype {array.dtype}"
    if array.ndim != 3 or array.shape[2] != 3:
        remedy = "give a list of such arrays" if array.ndim == 4 else "a grey picture goes in as a PIL image"
        raise ImageError(where, "not a picture of shape (H, W, 3)", remedy)
    if array.dtype != np.uint8:
        raise ImageError(where, "not uint8", "give RGB values from 0 to 255 as uint8")
    if array.size == 0:
        raise ImageError(where, "no pixels")
    return np.ascontiguousarray(array)


def _upright(image: Image.Image) -> Image.Image:
    """Turns by the EXIF orientation; asks first, since `exif_transpose` copies pictures that need no turn."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: "I;16" and its byte orders, "I" from older Pillow and some formats
        high_byte = np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8
        image = Image.fromarray(high_byte.astype(np.uint8))
    if image.mode == "F":
        raise ImageError(name, "has floating-point pixels, whose range is not known", "save it with 8 or 16 bits")
    return image if image.mode == "RGB" else image.convert("RGB")


def _name(source: object) -> str:
    """What to call a source in a message."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, bytes):
        return f"image of {len(source):,} bytes"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or f"PIL image of mode {source.mode}"
    return str(getattr(source, "name", "")) or type(source).__name__
