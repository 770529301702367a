"""What a comparison of a graph's answers says of them, and the self-test that comes from it; without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import Image

from vit_export.similarity import cosines
from vit_export.verify.tolerances import SELF_TEST_SHARE, SELF_TEST_SLACK, SHARE_OF_DISCARDING, Cosine, Difference
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Description, Output, OutputCheck, SelfTest, StoredAnswer, Verification
from vit_runtime.selftest import largest_difference, pixels_sha256, waves

_PHOTOS_HW: Final = ((333, 517), (640, 427), (97, 64))
"""Heights and widths in pixels: a landscape, a portrait, and a picture smaller than any crop."""


def photos() -> list[Image.Image]:
    """Makes pictures by formula, in sizes that a camera might give."""
    return [Image.fromarray(waves(size_hw, variant=index + 1)) for index, size_hw in enumerate(_PHOTOS_HW)]


def check(output: Output, ours: FloatArray, expected: FloatArray, tolerance: Difference | Cosine) -> OutputCheck:
    """How far an output (N, ...) is from what is expected, and how far it may be."""
    return OutputCheck(
        output=output,
        max_difference=largest_difference(ours, expected),
        min_cosine=float(cosines(ours, expected).min()),
        tolerance=tolerance.limit(expected) if isinstance(tolerance, Difference) else None,
        cosine_limit=tolerance.least if isinstance(tolerance, Cosine) else None,
    )


def same_top1(ours: FloatArray, expected: FloatArray) -> int:
    """Pictures with the same likeliest class."""
    return int((ours.argmax(1) == expected.argmax(1)).sum())


def described(check: OutputCheck) -> str:
    """An output's difference and its limit, in words."""
    return (
        f"{check.output} by {check.max_difference:.1e}{_limit(check.tolerance)}, "
        f"smallest cosine {check.min_cosine:.4f}{_limit(check.cosine_limit)}"
    )


def passed(result: Verification) -> bool:
    """Whether all differences are within their limits; NaN and infinity never are."""
    return result.same_pixels == result.pictures and all(map(holds, result.outputs))


def holds(check: OutputCheck) -> bool:
    """Whether an output is within its limits."""
    return (
        math.isfinite(check.max_difference)
        and (check.tolerance is None or check.max_difference <= check.tolerance)
        and (check.cosine_limit is None or check.min_cosine >= check.cosine_limit)
    )


def self_test(answers: Mapping[Output, FloatArray], description: Description, verification: Verification) -> SelfTest:
    """Makes what an artifact stores so that any machine can check itself.

    An fp32 file stores PyTorch's answers. A quantized file differs from PyTorch by more than a faulty kernel might, so
    it stores its own answers, which the verification has just compared with PyTorch's.
    """
    return SelfTest(
        formula="waves",
        pixels_sha256=pixels_sha256(description.preprocessing),
        answers="export" if description.precision in SELF_TEST_SHARE else "reference",
        outputs=tuple(stored(check, answers[check.output][0], description) for check in verification.outputs),
    )


def stored(check: OutputCheck, values: FloatArray, description: Description) -> StoredAnswer:
    """Makes one output's answer for the self-test from its values (...) and what was measured about it."""
    share = SELF_TEST_SHARE.get(description.precision)
    if share is None and check.tolerance is not None:
        limit = SELF_TEST_SLACK * check.tolerance
    else:
        limit = (share or SHARE_OF_DISCARDING) * float(np.abs(values).max())
    return StoredAnswer(output=check.output, values=exact(values.ravel()), tolerance=limit)


def _limit(limit: float | None) -> str:
    return "" if limit is None else f" (limit {limit:.2g})"


def exact(values: FloatArray) -> tuple[float, ...]:
    """Gives float32 values in nine digits, which are enough to bring back every bit."""
    return tuple(float(f"{value:.9g}") for value in values)
