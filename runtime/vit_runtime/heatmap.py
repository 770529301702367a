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
    """float32 (h, w), a value a patch: its share in the class token, 0 to 1; with the shares of the class token itself
    and of other tokens that stand for no patch they add up to 1."""
    source: ImageSource
    """The photo."""
    preprocessing: Preprocessing

    def __repr__(self) -> str:
        height, width = self.values.shape
        return f"AttentionMap({height}x{width}, {float(self.values.min()):.2g} to {float(self.values.max()):.2g})"

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:  # noqa: FBT001 - NumPy's protocol
        """The values, for NumPy."""
        if copy is False and dtype not in (None, self.values.dtype):
            raise ValueError("another dtype needs a copy")
        return np.array(self.values, dtype=dtype) if copy or dtype is not None else self.values

    def overlay(self, *, opacity: float = _OPACITY) -> Image.Image:
        """The photo at its full size, upright, with the map over the part of it that the model saw.

        From the least value of the map, dark, to its largest, bright; the photo stays visible below it. What the model
        did not see, because preparation cut it off, stays as it is.

        Args:
            opacity: how much the colours cover the photo, 0 to 1.

        Raises:
            ImageError: the photo is a file that cannot be read any more.
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


def keep(source: ImageSource) -> ImageSource:
    """A source that can be read twice: once for the model, once to draw on. A file object cannot."""
    return read_rgb(source) if hasattr(source, "read") else source


def save_overlay(picture: Image.Image, path: Path) -> None:
    """Writes a picture in the format that its name ends in, complete or not at all; makes the folder.

    Raises:
        OutputFileError: it cannot be written there.
    """
    with blame(path, "choose another place"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        picture.save(file, OVERLAY_FORMATS[path.suffix.lower()], quality=_QUALITY)


def _whole_pixels(start: float, end: float, size: int) -> tuple[int, int]:
    """The pixels of an edge between two places: at least one, since a crop of a very long photo is less than that."""
    first = min(max(0, round(start)), size - 1)
    return first, max(first + 1, min(round(end), size))


def _spread(values: FloatArray) -> FloatArray:
    """Values from 0, the least, to 1, the largest; all 0 where they are all alike."""
    least, largest = float(values.min()), float(values.max())
    return np.asarray((values - least) / ((largest - least) or 1.0), np.float32)


def _stretched(
    values: FloatArray, box: tuple[float, float, float, float], seen: tuple[int, int, int, int]
) -> FloatArray:
    """A map (h, w) that belongs to `box`, over the whole pixels `seen` of the same photo, interpolated between patches.

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
    """Colours of values from 0 to 1: (H, W) to uint8 RGB (H, W, 3)."""
    anchors = np.frombuffer(_MAGMA, np.uint8).reshape(-1, 3)
    steps = np.linspace(0, 1, len(anchors))
    palette = np.stack([np.interp(np.linspace(0, 1, 256), steps, channel) for channel in anchors.T], axis=-1)
    indices = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    colours: UInt8Array = np.rint(palette).astype(np.uint8)[indices]
    return colours
