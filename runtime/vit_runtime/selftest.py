"""A self-test that any machine can run: pictures made by formula, and stored answers for them.

The pictures need no file and no random numbers, only integer arithmetic, so that every machine makes the same
bytes. One is the model's input itself and tests the execution provider; the other is a larger photo of odd size
and tests Pillow's resampling by the digest of the preprocessed pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Output, Preprocessing, SelfTest
from vit_runtime.graph import Graph
from vit_runtime.pictures.preprocess import load_pixels

_PHOTO_HW: Final = (211, 307)


@dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """How far one output is from the stored answer."""

    output: Output
    difference: float
    """Largest absolute difference between a value and the stored one; NaN where either is NaN."""
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within its tolerance; a NaN is not."""
        return self.difference <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class SelfTestResult:
    """How far this machine's answers are from the stored ones: PyTorch's for fp32, else the export's own."""

    answers: Literal["reference", "export"]
    outputs: tuple[OutputDifference, ...]
    same_pixels: bool
    """Whether preprocessing gives the same bytes as on the machine that exported."""
    same_file: bool
    """Whether every byte of the file is as it was exported, by its SHA-256."""

    @property
    def passed(self) -> bool:
        """Whether pixels and file are the same and every output is within its tolerance; a NaN fails."""
        same = self.same_pixels and self.same_file
        return same and all(answer.holds for answer in self.outputs)


def differences(graph: Graph, stored: SelfTest) -> tuple[OutputDifference, ...]:
    """Compares a graph's answers on this machine with the stored ones.

    Raises:
        ProviderError: the provider cannot compute them.
    """
    pixels = waves(graph.description.preprocessing.crop_hw)[None]
    values = graph.run(pixels, [answer.output for answer in stored.outputs])
    return tuple(
        OutputDifference(
            output=answer.output,
            difference=largest_difference(ours.ravel(), np.array(answer.values, np.float32)),
            tolerance=answer.tolerance,
        )
        for answer, ours in zip(stored.outputs, values, strict=True)
    )


def problem(graph: Graph, stored: SelfTest) -> str:
    """Says in words how a graph's answers fail the stored ones; empty where they are right.

    Raises:
        ProviderError: the provider cannot compute them.
    """
    return "; ".join(
        f"it fails the self-test ({each.output} is off by {each.difference:.2g}, at most {each.tolerance:.2g} is right)"
        for each in differences(graph, stored)
        if not each.holds
    )


def largest_difference(ours: FloatArray, reference: FloatArray) -> float:
    """The largest absolute difference of two arrays of one shape; NaN where either holds a NaN."""
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, which is the right answer here
        return float(np.max(np.abs(ours.astype(np.float64) - reference.astype(np.float64))))


def pixels_sha256(preprocessing: Preprocessing) -> str:
    """Gives the SHA-256, in hexadecimal, of the self-test's photo after preprocessing."""
    import hashlib  # loads OpenSSL, which only a check needs

    photo = Image.fromarray(waves(_PHOTO_HW))
    return hashlib.sha256(load_pixels(photo, preprocessing).tobytes()).hexdigest()


def waves(size_hw: tuple[int, int], *, variant: int = 0) -> UInt8Array:
    """A colourful picture by formula: uint8 RGB (H, W, 3).

    Each channel is a triangle wave along its own slant, and a disc in the middle is inverted. `variant` changes
    wavelengths and slants. Coordinates are scaled to 0..1023, so that pictures of all sizes look alike.
    """
    height, width = size_hw
    y = (np.arange(height, dtype=np.int64) * 1024 // height)[:, None]
    x = (np.arange(width, dtype=np.int64) * 1024 // width)[None, :]
    slants = ((3 + variant, 1), (1, 2 + 2 * variant), (2, -3 - variant))
    channels = [np.abs((a * x + b * y + 97 * variant) % 510 - 255) for a, b in slants]
    picture = np.stack(channels, axis=-1)
    disc = (x - 512) ** 2 + (y - 512) ** 2 < (200 + 40 * variant) ** 2
    return np.where(disc[..., None], 255 - picture, picture).astype(np.uint8)
