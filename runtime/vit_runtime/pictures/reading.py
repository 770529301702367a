"""Reads anything that is an image as an upright picture of 8-bit RGB, or raises one clear error."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from vit_runtime.arrays import UInt8Array
from vit_runtime.errors import ImageError
from vit_runtime.pictures.formats import FORMATS, largest_tile, may_be_decoded, open_picture
from vit_runtime.pictures.limits import LIMITS, Limits

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | UInt8Array"
"""Anything that is an image: path, encoded bytes, binary file, PIL image, or uint8 RGB array (H, W, 3)."""


_ORIENTATION: Final = 0x0112
"""EXIF's tag of the orientation; `PIL.ExifTags` has it as well, but takes 5 ms to import."""
LARGEST_TILE: Final = 1 << 24
"""Most pixels of a TIFF file's tile: libtiff allocates the whole tile, even for a picture of a few pixels."""
_BAND: Final = 256
LARGEST_STREAM: Final = 256 << 20
"""Most bytes of a picture from a pipe: all of it is held in memory, since decoders jump back and forth."""


def read_rgb(source: ImageSource, *, limits: Limits = LIMITS, name: str | None = None) -> Image.Image:
    """Reads a picture as a person sees it: upright by its EXIF orientation, 8 bits, RGB.

    Grey, CMYK, palette, 16-bit and transparent pictures are converted as `Image.convert("RGB")` does; 16-bit
    ones are brought to 8 bits by their high byte, where Pillow would clip them to white. Transparency is
    dropped, not blended, as in torchvision's `ImageFolder` loader.

    Raises:
        ImageError: the source is missing, empty, truncated, no image, or an array of another shape or dtype.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(_checked_array(source))
    name = source_name(source) if name is None else name
    if isinstance(source, Image.Image):
        if not may_be_decoded(source):
            raise ImageError(name, f"opened as {source.format}, which is not read here", "load() it where you trust it")
        return _decode(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source) == 0:
            raise ImageError(name, "empty")
        return _decode_file(BytesIO(source.tobytes() if isinstance(source, memoryview) else source), name)
    if isinstance(source, (str, os.PathLike)):
        return _read_path(source_name(source), name)
    if hasattr(source, "read"):
        return _read_file(source, name)
    raise ImageError(name, "not an image", "give a path, bytes, a binary file, a PIL image or a uint8 array (H, W, 3)")


def _read_path(path: str, name: str) -> Image.Image:
    if not path:
        raise ImageError("''", "an empty path")
    try:
        # Opened here, not by Pillow, which keeps the files of animations and of broken pictures open.
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # a pipe, such as /dev/stdin or a shell's <(...)
                return _decode_file(_all_of(file, name), name)
            if status.st_size == 0:
                raise ImageError(name, "empty file")
            return _decode_file(file, name)
    except FileNotFoundError:
        raise ImageError(name, "no such file") from None
    except IsADirectoryError:
        raise ImageError(name, "is a folder, not a picture") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ImageError(name, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _read_file(file: BinaryIO, name: str) -> Image.Image:
    """Reads a file that the caller has opened, from its start where it has one."""
    try:
        seekable = file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")
        file = file if seekable else _all_of(file, name)
    except ImageError:
        raise
    except Exception as error:  # a closed file, or somebody's own class, may raise anything
        raise ImageError(name, f"cannot be read ({str(error) or type(error).__name__})", "open it again") from error
    return _decode_file(file, name)


def _all_of(file: BinaryIO, name: str) -> BytesIO:
    """Reads all that a pipe brings into memory, at most `LARGEST_STREAM` bytes."""
    data = bytearray()
    while block := file.read(LARGEST_STREAM + 1 - len(data)):  # an unbuffered file gives only what is there
        if isinstance(block, str):
            raise ImageError(name, "gives text, not bytes", "open it in binary mode")
        data += block
        if len(data) > LARGEST_STREAM:
            raise ImageError(name, f"brings more than {LARGEST_STREAM >> 20} MiB", "save it to a file first")
    if not data:
        raise ImageError(name, "empty")
    return BytesIO(data)


def _decode_file(file: BinaryIO, name: str) -> Image.Image:
    try:
        image = open_picture(file)
    except UnidentifiedImageError:
        raise ImageError(name, "not an image in a format that is read here", f"use {_listed(FORMATS)}") from None
    except Exception as error:
        raise _unreadable(error, name) from error
    return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    try:
        if (largest := largest_tile(image)) > max(LARGEST_TILE, image.width * image.height):
            raise ImageError(name, f"has tiles of {largest:,} pixels", "save it in another format")
        image.load()
        if 0 in image.size:
            raise ImageError(name, f"has no pixels ({image.width}x{image.height})")
        return _to_rgb(_upright(image), name)
    except ImageError:
        raise
    except Exception as error:
        raise _unreadable(error, name) from error


def _unreadable(error: Exception, name: str) -> ImageError:
    """Turns any error of Pillow's decoders into an `ImageError`; a damaged file makes them raise all kinds."""
    if isinstance(error, MemoryError):  # also where a damaged header asks for more than any machine has
        return ImageError(name, "takes more memory to read than there is", "scale it down, if it is not damaged")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(name, f"too large ({error})", "scale it down first")
    reason = str(error) or type(error).__name__
    return ImageError(name, f"cannot be read ({reason})", "the file may be damaged or cut off")


def _upright(image: Image.Image) -> Image.Image:
    """Turns a picture by its EXIF orientation; looks first, since `exif_transpose` copies even what needs no turn."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises anything for damaged EXIF, but only the pixels matter
        return image
    return image if orientation == 1 else ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: "I;16" and its byte orders, "I" from older Pillow and some formats
        image = Image.fromarray(_high_bytes(np.asarray(image)))
    if image.mode == "F":
        raise ImageError(name, "has floating-point pixels, whose range is not known", "save it with 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # gives the same colours; without this step Pillow warns
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_bytes(values: npt.NDArray[np.integer]) -> UInt8Array:
    """Gives the high byte of 16-bit values (H, W); clips wider values first, and works in bands to save memory."""
    high = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), _BAND):
        band = values[top : top + _BAND].astype(np.int64)
        high[top : top + _BAND] = np.clip(band, 0, 0xFFFF) >> 8
    return high


def _checked_array(array: UInt8Array) -> UInt8Array:
    where = f"array of shape {array.shape} and dtype {array.dtype}"
    if array.ndim != 3 or array.shape[2] != 3:
        remedies = {2: "give a grey picture as a PIL image", 4: "give a list of pictures"}
        remedy = remedies.get(array.ndim, "give three channels, red, green and blue, in the last axis")
        raise ImageError(where, "not a picture of shape (H, W, 3)", remedy)
    if array.dtype != np.uint8:
        raise ImageError(where, "not uint8", "give RGB values from 0 to 255 as uint8")
    if array.size == 0:
        raise ImageError(where, "no pixels")
    return np.ascontiguousarray(array)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def source_name(source: object) -> str:
    """What to call a source in a message."""
    if isinstance(source, (str, os.PathLike)):
        try:
            return os.fsdecode(source)
        except TypeError:
            return type(source).__name__
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"image of {len(source):,} bytes"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or f"PIL image of mode {source.mode}"
    return str(getattr(source, "name", "")) or type(source).__name__
