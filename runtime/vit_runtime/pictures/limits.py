"""Bounds what one picture may cost: pixels, bytes, and the time to decode it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from PIL import Image

from vit_runtime.errors import ImageError, UsageError, is_command_line, option

PIXELS: Final = 2 * 89_478_485
"""Most pixels by default, which is what Pillow refuses by itself: 179 million, 0.7 GB as RGB in Pillow."""
BYTES: Final = 256 << 20
"""Most encoded bytes by default; what comes through a pipe is held in memory, since decoders jump back and forth."""
TOO_LARGE: Final = "too large"
"""How the errors begin of pictures with too many pixels."""
SECONDS: Final = 30.0
"""Longest decoding by default; a photo of a hundred million pixels takes one or two seconds."""
Field: TypeAlias = Literal["pixels", "bytes", "seconds"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one picture may cost; one that would cost more is an `ImageError`. None lifts a limit.

    Raises:
        UsageError: a limit is not a positive number, or `pixels` or `bytes` is not a whole one.
    """

    pixels: int | None = PIXELS
    """Width times height, as the header tells it; checked before anything is decoded."""
    bytes: int | None = BYTES
    """Size of the encoded picture."""
    seconds: float | None = SECONDS
    """Time to decode. It is looked at when a decoder asks for more of the file, so a single step may go beyond."""

    def __post_init__(self) -> None:
        fields: tuple[Field, ...] = ("pixels", "bytes", "seconds")
        for field in fields:
            value = getattr(self, field)
            kinds = (int, float) if field == "seconds" else (int,)
            if value is None or (isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < math.inf):
                continue
            whole = "" if field == "seconds" else "whole "
            raise UsageError(spelled(field), f"{value!r} is not a positive {whole}number")


LIMITS: Final = Limits()
"""The limits that hold where none are given."""


def spelled(field: Field) -> str:
    """How the reader of a message can type a limit."""
    return option(f"max_{field}") if is_command_line() else f"Limits.{field}"


def check_pixels(size_wh: tuple[int, int], limits: Limits, name: str) -> None:
    """Refuses a picture by the size that its header tells.

    Where a program has set `PIL.Image.MAX_IMAGE_PIXELS` below Pillow's default, twice that is a limit as well.

    Raises:
        ImageError: the picture has more pixels than the limit.
    """
    width, height = size_wh
    pixels = width * height
    if limits.pixels is not None and pixels > limits.pixels:
        found = f"{TOO_LARGE}: {width}x{height} are {pixels:,} pixels, and {limits.pixels:,} are allowed"
        raise ImageError(name, found, f"scale it down, or raise {spelled('pixels')}")
    lowered = Image.MAX_IMAGE_PIXELS
    if lowered is not None and 2 * lowered < min(pixels, PIXELS):
        found = f"{TOO_LARGE}: {width}x{height} are {pixels:,} pixels, and this program's PIL.Image.MAX_IMAGE_PIXELS"
        raise ImageError(name, f"{found} allows {2 * lowered:,}", "scale it down")


def check_bytes(size: int, limits: Limits, name: str) -> None:
    """Refuses a picture by the size of its file.

    Raises:
        ImageError: the file has more bytes than the limit.
    """
    if limits.bytes is not None and size > limits.bytes:
        found = f"too large: more than the {limits.bytes:,} bytes that are allowed"
        raise ImageError(name, found, f"raise {spelled('bytes')}")
