"""Decodes a picture with Pillow within limits: upright at full size, or as it is stored and perhaps reduced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from vit_runtime.arrays import UInt8Array
from vit_runtime.errors import ImageError
from vit_runtime.pictures.formats import FORMATS, is_decoded, largest_tile, open_picture
from vit_runtime.pictures.guarded import Guarded
from vit_runtime.pictures.large import wait_for_turn
from vit_runtime.pictures.limits import Limits, check_pixels

UPRIGHT: Final = 1
"""The EXIF orientation of what need not be turned."""
_ORIENTATION: Final = 0x0112
"""EXIF's tag of the orientation; `PIL.ExifTags` has it as well, but takes 5 ms to import."""
LARGEST_TILE: Final = 1 << 24
"""Most pixels of a TIFF file's tile: libtiff allocates the whole tile, even for a picture of a few pixels."""
_BAND: Final = 256
_SMALL_BLOCK: Final = 1 << 10
"""Bytes that the decoder of a progressive JPEG gets at a time. Pillow's 64 KiB can hold hundreds of scans, each over
the whole picture, and time is looked at between blocks."""

LeastSize: TypeAlias = Callable[[tuple[int, int]], tuple[int, int]]
"""Gives the least width and height that are needed of an upright picture of some width and height."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A picture as its file stores it: not turned, and perhaps decoded at a fraction of its size."""

    image: Image.Image
    """8 bits, RGB."""
    orientation: int
    """EXIF's number, 1 to 8, of how to turn it upright."""
    full_wh: tuple[int, int]
    """Its width and height at full size."""
    seen_wh: tuple[float, float]
    """Width and height of the photo in `image`, from the upper left corner; the last pixels may reach beyond it."""

    @property
    def upright_wh(self) -> tuple[int, int]:
        """Its width and height at full size, once it is turned."""
        return turned_wh(self.full_wh, self.orientation)

    @property
    def is_reduced(self) -> bool:
        """Whether it was decoded at a fraction of its size."""
        return self.seen_wh != self.full_wh


@dataclass(frozen=True)
class Task:
    """How to read a picture."""

    name: str
    """What to call it in a message."""
    limits: Limits
    least: LeastSize | None = None
    """The size that is enough. Where this is given the picture comes out as `Stored`, and else upright."""


def turned_wh(size_wh: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height after turning: orientations from 5 on exchange the two."""
    return size_wh if orientation < 5 else (size_wh[1], size_wh[0])


def decode_file(file: BinaryIO, task: Task) -> Stored:
    """Decodes the first picture of a seekable binary file.

    Raises:
        ImageError: the file is no picture, damaged, or beyond the task's limits.
    """
    guarded = Guarded(file, task.limits, task.name)
    with _errors_of_pillow(task.name, guarded):
        image = open_picture(cast("BinaryIO", guarded))
        if "progressive" in image.info:
            image.decodermaxblock = _SMALL_BLOCK
        return _decoded(image, task, guarded)


def decode_image(image: Image.Image, task: Task) -> Stored:
    """Decodes an image that the caller has opened, at full size, and leaves it as it is.

    Raises:
        ImageError: the file behind it is damaged, or it is not decoded yet and has more pixels than the limit.
    """
    with _errors_of_pillow(task.name):
        return _decoded(image, task, None)


def _decoded(image: Image.Image, task: Task, guarded: Guarded | None) -> Stored:
    """Decodes an image; `guarded` is the file that we have opened for it, None where the caller has."""
    if not is_decoded(image):
        check_pixels(image.size, task.limits, task.name)
        waited = wait_for_turn(image.width * image.height)
        if guarded is not None:
            guarded.extend(waited)
    if (largest := largest_tile(image)) > max(LARGEST_TILE, image.width * image.height):
        raise ImageError(task.name, f"has tiles of {largest:,} pixels", "save it in another format")
    full_wh, seen_wh = image.size, None
    if task.least is not None and guarded is not None:
        seen_wh = _reduce(image, task.least)
    image.load()
    if 0 in image.size:
        raise ImageError(task.name, f"has no pixels ({image.width}x{image.height})")
    if task.least is None:
        upright = _to_rgb(_upright(image), task.name)
        return Stored(upright, UPRIGHT, upright.size, upright.size)
    return Stored(_to_rgb(image, task.name), _orientation(image), full_wh, seen_wh or full_wh)


def _reduce(image: Image.Image, least: LeastSize) -> tuple[float, float] | None:
    """Has libjpeg decode at a half, quarter or eighth, as long as both sides keep the least size.

    Gives the photo's width and height in the pixels to come, or None where the format has no such thing.
    """
    orientation = _orientation(image)
    least_wh = turned_wh(least(turned_wh(image.size, orientation)), orientation)
    drafted = image.draft(None, least_wh)
    return None if drafted is None else (drafted[1][2], drafted[1][3])


@contextmanager
def _errors_of_pillow(name: str, guarded: Guarded | None = None) -> Iterator[None]:
    """Turns any error of Pillow's decoders into an `ImageError`; a damaged file makes them raise all kinds."""
    try:
        yield
    except Exception as error:
        if guarded is not None and guarded.has_refused:  # Pillow may have made another error of it
            raise guarded.refusal() from None
        if isinstance(error, ImageError):
            raise
        raise _unreadable(error, name) from error


def _unreadable(error: Exception, name: str) -> ImageError:
    if isinstance(error, UnidentifiedImageError):
        return ImageError(name, "not an image in a format that is read here", f"use {_listed(FORMATS)}")
    if isinstance(error, MemoryError):  # also where a damaged header asks for more than any machine has
        return ImageError(name, "takes more memory to read than there is", "scale it down, if it is not damaged")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(name, f"too large ({error})", "scale it down first")
    reason = str(error) or type(error).__name__
    return ImageError(name, f"cannot be read ({reason})", "the file may be damaged or cut off")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 where it says none that exists."""
    try:
        found = image.getexif().get(_ORIENTATION, UPRIGHT)
    except Exception:  # Pillow raises anything for damaged EXIF, but only the pixels matter
        return UPRIGHT
    return found if found in range(1, 9) else UPRIGHT


def _upright(image: Image.Image) -> Image.Image:
    """Turns a picture by its EXIF orientation; looks first, since `exif_transpose` copies even what needs no turn."""
    return image if _orientation(image) == UPRIGHT else ImageOps.exif_transpose(image)


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


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
