"""Bounds what one picture may cost: pixels, bytes, and the time to decode it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from vit_runtime.errors import UsageError, option

PIXELS: Final = 2 * 89_478_485
"""Most pixels by default, which is what Pillow refuses by itself: 179 million, 0.7 GB as RGB in Pillow."""
BYTES: Final = 256 << 20
"""Most encoded bytes by default; what comes through a pipe is held in memory, since decoders jump back and forth."""
SECONDS: Final = 30.0
"""Longest decoding by default; a photo of a hundred million pixels takes seconds."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one picture may cost; a picture that costs more is an `ImageError`. None lifts a limit.

    Raises:
        UsageError: a limit is not a positive number; `pixels` and `bytes` are whole ones.
    """

    pixels: int | None = PIXELS
    """Width times height, as the file's header tells it; nothing is decoded before that is known."""
    bytes: int | None = BYTES
    """Size of the encoded picture."""
    seconds: float | None = SECONDS
    """Time to read and decode; it is looked at whenever the decoder asks for the next block of the file."""

    def __post_init__(self) -> None:
        for field, unit in (("pixels", int), ("bytes", int), ("seconds", (int, float))):
            value = getattr(self, field)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, unit) or not 0 < value < math.inf:
                kind = "a positive number" if field == "seconds" else "a positive whole number"
                raise UsageError(option(f"max_{field}"), f"{value!r} is not {kind}")


LIMITS: Final = Limits()
"""The limits that hold where none are given."""
