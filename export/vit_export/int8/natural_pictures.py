"""What the pixels of all photos have in common, for use where there are no photos to calibrate on.

Neighbouring pixels are nearly alike: their correlation falls off with distance about as exp(-d / L), with L of some
tens of pixels, and colours go together (Ruderman, "The statistics of natural images", 1994; the exponential is the
classical model of image coding: Jain, "Fundamentals of Digital Image Processing", 1989). In the spectrum,
amplitudes fall about as 1 / frequency (Field 1987).
"""

from __future__ import annotations

from math import isqrt
from typing import Final

import numpy as np
import torch

from vit_runtime.arrays import UInt8Array

_COLOURS: Final = 3
_MEAN: Final = 115.0
_DEVIATION: Final = 60.0
"""Standard deviation of a pixel, on a scale of 0 to 255."""
_LENGTH: Final = 30.0
"""The correlation's length in pixels; 15 and 100 round the patch projection as well (docs/log.md)."""
_FALL: Final = 1.2
"""Exponent of the amplitudes' fall with frequency."""
_OWN_COLOUR: Final = 0.35
"""How much each colour adds of its own to what all colours share."""
_BRIGHTNESS_SPREAD: Final = 25.0
"""How far a picture's mean may lie from the mean of all pictures, on a scale of 0 to 255."""
_BETWEEN_COLOURS: Final = 0.93
"""Correlation of two colours of one pixel."""


def patch_moment(values: int) -> torch.Tensor:
    """E[x xᵀ] of patches of `values` = P·P·3 pixels, in the order row, column, colour: float64 (values, values)."""
    side = isqrt(values // _COLOURS)
    row, column, colour = (axis.ravel() for axis in np.indices((side, side, _COLOURS)))
    distance = np.hypot(np.subtract.outer(row, row), np.subtract.outer(column, column))
    correlation = np.exp(-distance / _LENGTH) * np.where(np.equal.outer(colour, colour), 1.0, _BETWEEN_COLOURS)
    return torch.from_numpy(_DEVIATION**2 * correlation + _MEAN**2)


def noise_pictures(side: int, count: int) -> list[UInt8Array]:
    """Makes clouds: seeded noise with the spectrum, brightness and colours of photos; uint8 (side, side, 3) each."""
    frequency = np.hypot.outer(np.fft.fftfreq(side), np.fft.fftfreq(side))
    frequency[0, 0] = 1.0
    pictures = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        white = rng.standard_normal((_COLOURS, side, side))
        clouds = np.fft.ifft2(np.fft.fft2(white) / frequency**_FALL).real
        clouds /= clouds.std(axis=(1, 2), keepdims=True)
        # The first channel is what all colours share.
        colours = (clouds[:1] + _OWN_COLOUR * clouds).transpose(1, 2, 0)
        brightness = _MEAN + rng.uniform(-_BRIGHTNESS_SPREAD, _BRIGHTNESS_SPREAD)
        pixels = brightness + _DEVIATION * (colours - colours.mean()) / colours.std()
        pictures.append(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return pictures
