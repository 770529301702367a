"""Verification: the written file, run by `vit_runtime`, against PyTorch's answers for the same pictures.

The two halves are apart so that PyTorch's weights can be let go before onnxruntime loads its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torchvision.models import VisionTransformer

from vit_export import reference
from vit_export.errors import VerificationError
from vit_runtime.artifact import Precision, Preprocessing, SelfTest, Verification
from vit_runtime.model import FloatArray, ViT
from vit_runtime.preprocess import load_pixels
from vit_runtime.selftest import largest_difference, pixels_sha256, waves
from vit_runtime.session import import_onnxruntime


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Largest difference from PyTorch that is accepted, for values up to `unit` in size; larger ones in proportion."""

    logits: float
    embedding: float
    unit: float

    def limit(self, tolerance: float, reference_values: FloatArray) -> float:
        """The limit for values of the size that the reference has."""
        return tolerance * max(1.0, float(np.abs(reference_values).max()) / self.unit)


TOLERANCES: Final[dict[Precision, Tolerance]] = {
    # Worst measured: 6.8e-5 of a logit, DeiT-Tiny's real weights on 500 photos (docs/log.md, 2026-11-23).
    "fp32": Tolerance(logits=1e-4, embedding=1e-4, unit=10.0),
}
SELF_TEST_SLACK: Final = 10.0
"""Other processors add up in another order; a wrong kernel is off by a hundred times more than this."""

_PHOTOS_HW: Final = ((333, 517), (640, 427), (97, 64))
"""A landscape, a portrait, and one smaller than any crop."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """PyTorch's answers: first for the self-test's picture, then for the formula photos."""

    inputs: tuple[torch.Tensor, ...]
    logits: FloatArray
    embedding: FloatArray


def photos() -> list[Image.Image]:
    """Pictures by formula, of sizes that a camera might give."""
    return [Image.fromarray(waves(size_hw, variant=index + 1)) for index, size_hw in enumerate(_PHOTOS_HW)]


def ask_reference(model: VisionTransformer, preprocessing: Preprocessing) -> Reference:
    """Runs PyTorch's own model and transforms on the verification's pictures."""
    test_picture = reference.normalise(waves(preprocessing.crop_hw), preprocessing)
    inputs = (test_picture, *(reference.prepare(photo, preprocessing) for photo in photos()))
    logits, embedding = reference.answers(model, inputs)
    return Reference(inputs=inputs, logits=logits, embedding=embedding)


def verify(model: ViT, expected: Reference) -> Verification:
    """Compares the file's answers with the reference's, at batch size 1 and at batch size 3.

    Raises:
        VerificationError: a difference is above its tolerance, or preprocessing gives other bytes.
    """
    preprocessing = model.artifact.preprocessing
    pixels = [waves(preprocessing.crop_hw), *(load_pixels(photo, preprocessing) for photo in photos())]
    same_pixels = sum(
        torch.equal(reference.normalise(ours, preprocessing), theirs)
        for ours, theirs in zip(pixels, expected.inputs, strict=True)
    )
    batches = [model.run(np.stack(pixels[:1])), model.run(np.stack(pixels[1:]))]
    logits, embedding = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    tolerance = TOLERANCES[model.artifact.precision]
    result = Verification(
        reference=reference.NAME,
        runtime=f"onnxruntime {import_onnxruntime().__version__}, {model.provider}",
        pictures=len(pixels),
        same_top1=int((logits.argmax(1) == expected.logits.argmax(1)).sum()),
        same_pixels=same_pixels,
        max_logit_difference=largest_difference(logits, expected.logits),
        max_embedding_difference=largest_difference(embedding, expected.embedding),
        logit_tolerance=tolerance.limit(tolerance.logits, expected.logits),
        embedding_tolerance=tolerance.limit(tolerance.embedding, expected.embedding),
    )
    if not passed(result):
        raise VerificationError(
            model.artifact.model,
            f"differs from PyTorch: logits by {result.max_logit_difference:.1e} (limit {result.logit_tolerance:.1e}), "
            f"embedding by {result.max_embedding_difference:.1e} (limit {result.embedding_tolerance:.1e}), "
            f"preparation of {result.pictures - same_pixels} of {result.pictures} pictures",
            "nothing was written; please report it with the model's name",
        )
    return result


def passed(result: Verification) -> bool:
    """Whether a verification holds; NaN and infinity do not."""
    return (
        math.isfinite(result.max_logit_difference)
        and math.isfinite(result.max_embedding_difference)
        and result.same_pixels == result.pictures
        and result.max_logit_difference <= result.logit_tolerance
        and result.max_embedding_difference <= result.embedding_tolerance
    )


def self_test(expected: Reference, preprocessing: Preprocessing, verification: Verification) -> SelfTest:
    """What an artifact stores so that any machine can check itself against PyTorch."""
    return SelfTest(
        formula="waves",
        pixels_sha256=pixels_sha256(preprocessing),
        logits=_exact(expected.logits[0]),
        embedding=_exact(expected.embedding[0]),
        logit_tolerance=SELF_TEST_SLACK * verification.logit_tolerance,
        embedding_tolerance=SELF_TEST_SLACK * verification.embedding_tolerance,
    )


def _exact(values: FloatArray) -> tuple[float, ...]:
    """float32 values with the nine digits that bring back every bit."""
    return tuple(float(f"{value:.9g}") for value in values)
