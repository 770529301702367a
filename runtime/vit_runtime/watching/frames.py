"""A frame on its way to its answer: when it came, where in the video it is, and its pixels as a person sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from vit_runtime.arrays import UInt8Array
from vit_runtime.errors import ImageError
from vit_runtime.pictures.reading import ImageSource
from vit_runtime.watching.opening import largest_frame

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_QUARTER: Final = 90


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame that is to be answered."""

    time: datetime
    """When it came, in UTC."""
    position: float
    """Seconds of video since the first frame; of a live source, seconds since watching began."""
    picture: ImageSource
    """uint8 RGB (H, W, 3), upright; a JPEG's bytes where the source sends such."""


def upright(frame: VideoFrame, shown: str) -> UInt8Array:
    """A decoded frame as uint8 RGB (H, W, 3), turned as the video's display matrix says.

    FFmpeg's swscale converts from YUV, by the matrix and the range that the video states, and by BT.601 and the short
    range where it states none.

    Raises:
        ImageError: it has more pixels than `largest_frame`.
    """
    if frame.width * frame.height > largest_frame():
        found = f"has a frame of {frame.width}x{frame.height} pixels, more than {largest_frame():,}"
        raise ImageError(shown, found, "scale it down first")
    pixels: UInt8Array = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    quarters = round(frame.rotation / _QUARTER)  # counter-clockwise, as NumPy turns
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters % 4 else pixels
