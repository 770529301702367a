"""Attention maps: what a model looked at, as numbers and as a picture over the photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import UsageError
from vit_runtime.files import atomic_write, blame
from vit_runtime.pictures.limits import LIMITS, Limits
from vit_runtime.pictures.preprocess import crop_box
from vit_runtime.pictures.reading import ImageSource, read_rgb

_MAGMA: Final = bytes.fromhex(
    "000004 090720 1a1042 311165 4a1079 621980 792282 912b81 aa337d"
    "c23b75 d9466b ec5860 f7725c fc8e64 feaa74 fec68a fde2a3 fcfdbf"
)
"""Every 15th of the 256 colours of matplotlib's magma, perceptually even (van der Walt and Smith 2015, CC0)."""
_OPACITY: Final = 0.6
OVERLAY_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Pillow's names of the formats that an overlay is written in, by the suffix of the file."""
_QUALITY: Final = 90
"""Quality of JPEG and WebP; PNG loses nothing."""


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """Where a model looked in one photo: attention rollout from the answer's token to the patches.

    `numpy.asarray(map)` gives the values as well.
    """

    values: FloatArray
    """float32 (h, w), one value for each patch: the patch's share in the class token, 0 to 1. The shares of the class
    token itself, and of other tokens that stand for no patch, are left out; with them the values add up to 1."""
    source: ImageSource
    """The photo that the map belongs to."""
    preprocessing: Preprocessing

    def __repr__(self) -> str:
        height, width = self.values.shape
        return f"AttentionMap({height}x{width}, {float(self.values.min()):.2g} to {float(self.values.max()):.2g})"

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:  # noqa: FBT001 - NumPy's protocol
        """Gives NumPy the values."""
        if copy is False and dtype not in (None, self.values.dtype):
            raise ValueError("another dtype needs a copy")
        return np.array(self.values, dtype=dtype) if copy or dtype is not None else self.values

    def overlay(self, *, opacity: float = _OPACITY) -> Image.Image:
        """Draws the map over the part of the photo that the model saw; gives the photo upright, at its full size.

        The colours run from dark, the map's least value, to bright, its largest. The photo stays visible below them.
        Parts that the model did not see, because preparation cut them off, stay as they are.

        Args:
            opacity: how much the colours cover the photo, 0 to 1.

        Raises:
            ImageError: the photo is a file that cannot be read any more.
            UsageError: the opacity is not from 0 to 1.
        """
        if not 0 <= opacity <= 1:
            raise UsageError("opacity", f"{opacity} is no share", "give a number from 0 to 1")
        photo = read_rgb(self.source).copy()  # the caller's own image stays as it is
        box = crop_box(photo.size, self.preprocessing)
        left, right = _whole_pixels(box[0], box[2], photo.width)
        top, bottom = _whole_pixels(box[1], box[3], photo.height)
        seen = (left, top, right, bottom)
        heat = Image.fromarray(_colours(_stretched(_spread(self.values), box, seen)))
        photo.paste(Image.blend(photo.crop(seen), heat, opacity), seen)
        return photo


def keep(source: ImageSource, limits: Limits = LIMITS) -> ImageSource:
    """Gives a source that can be read twice, once for the model and once to draw on: file objects are decoded."""
    return read_rgb(source, limits=limits) if hasattr(source, "read") else source


def save_overlay(picture: Image.Image, path: Path) -> None:
    """Writes a picture in the format that the path's suffix names, complete or not at all; makes the folder.

    Raises:
        OutputFileError: the picture cannot be written there.
    """
    with blame(path, "choose another place"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        picture.save(file, OVERLAY_FORMATS[path.suffix.lower()], quality=_QUALITY)


def _whole_pixels(start: float, end: float, size: int) -> tuple[int, int]:
    """Gives the whole pixels between two places on an edge of `size` pixels: where they start, and where they end.

    There is always at least one pixel, although the crop of a very long photo can be narrower.
    """
    first = min(max(0, round(start)), size - 1)
    return first, max(first + 1, min(round(end), size))


def _spread(values: FloatArray) -> FloatArray:
    """Scales values so that the least becomes 0 and the largest becomes 1; equal values all become 0."""
    least, largest = float(values.min()), float(values.max())
    return np.asarray((values - least) / ((largest - least) or 1.0), np.float32)


def _stretched(
    values: FloatArray, box: tuple[float, float, float, float], seen: tuple[int, int, int, int]
) -> FloatArray:
    """Interpolates a map (h, w) that covers `box` of a photo, so that it fits the whole pixels `seen` of that photo.

    In Pillow's affine transform a pixel's centre lies at half a pixel, as patches' centres do here.
    """
    (height, width), (left, top, right, bottom) = values.shape, box
    across, down = width / (right - left), height / (bottom - top)
    # The border is repeated, so that pixels beyond the outer patches' centres have something to interpolate with.
    padded = Image.fromarray(np.pad(values, 1, mode="edge"))
    shift = ((seen[0] - left) * across + 1, (seen[1] - top) * down + 1)
    stretched = padded.transform(
        (seen[2] - seen[0], seen[3] - seen[1]),
        Image.Transform.AFFINE,
        (across, 0, shift[0], 0, down, shift[1]),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(stretched)


def _colours(values: FloatArray) -> UInt8Array:
    """Turns values from 0 to 1, (H, W), into colours, uint8 RGB (H, W, 3)."""
    anchors = np.frombuffer(_MAGMA, np.uint8).reshape(-1, 3)
    steps = np.linspace(0, 1, len(anchors))
    palette = np.stack([np.interp(np.linspace(0, 1, 256), steps, channel) for channel in anchors.T], axis=-1)
    indices = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    colours: UInt8Array = np.rint(palette).astype(np.uint8)[indices]
    return colours
