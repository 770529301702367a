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
from vit_runtime.artifact import Artifact, Precision, Preprocessing, SelfTest, Verification
from vit_runtime.model import FloatArray, ViT
from vit_runtime.preprocess import load_pixels
from vit_runtime.selftest import largest_difference, pixels_sha256, waves
from vit_runtime.session import import_onnxruntime


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Largest difference from PyTorch that is accepted, for values up to `unit` in size; larger ones in proportion."""

    logits: float
    embedding: float
    unit: float

    def limit(self, tolerance: float, reference_values: FloatArray) -> float:
        """The limit for values of the size that the reference has."""
        return tolerance * max(1.0, float(np.abs(reference_values).max()) / self.unit)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Smallest cosine with PyTorch's logits and embedding that is accepted, for the picture that comes out worst."""

    least: float


TOLERANCES: Final[dict[Precision, Difference | Cosine]] = {
    # Worst measured: 6.8e-5 of a logit, DeiT-Tiny's real weights on 500 photos (docs/log.md, 2026-11-23).
    "fp32": Difference(logits=1e-4, embedding=1e-4, unit=10.0),
    # Worst measured on the formula pictures: docs/log.md, 2026-11-23, int8.
    "int8": Cosine(least=0.95),
    "fp16": Cosine(least=0.999),
}
SELF_TEST_SLACK: Final = 10.0
"""Other processors add up in another order; a wrong kernel is off by a hundred times more than this."""
SELF_TEST_SHARE: Final[dict[Precision, float]] = {"int8": 0.1, "fp16": 0.01}
"""Limit of a self-test on the file's own answers, as a share of the largest: another order of adding up tips values
over to the next step of a grid. Measured: docs/decisions/0007."""

_REMEDIES: Final[dict[Precision, str]] = {
    "fp32": "nothing was written; please report it with the model's name",
    "int8": "nothing was written; calibrate on more fitting photos, or keep layers float with --keep-float",
    "fp16": "nothing was written; export it in fp32",
}
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


def verify(model: ViT, expected: Reference, *, remark: str = "") -> tuple[Verification, SelfTest]:
    """Compares the file's answers with the reference's, at batch size 1 and at batch size 3.

    `remark` says what cannot be checked here. The self-test comes from the same answers.

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
    result = _compare(model, logits, embedding, expected, same_pixels, remark)
    if not passed(result):
        raise VerificationError(
            model.artifact.model,
            f"differs from PyTorch: logits by {result.max_logit_difference:.1e}{_limit(result.logit_tolerance)}, "
            f"embedding by {result.max_embedding_difference:.1e}{_limit(result.embedding_tolerance)}, "
            f"smallest cosine {min(result.min_logit_cosine, result.min_embedding_cosine):.4f}"
            f"{_limit(result.cosine_limit)}, "
            f"preparation of {result.pictures - same_pixels} of {result.pictures} pictures",
            _REMEDIES[model.artifact.precision],
        )
    answers = (expected.logits, expected.embedding) if model.artifact.precision == "fp32" else (logits, embedding)
    return result, self_test(answers, model.artifact, result)


def _compare(
    model: ViT, logits: FloatArray, embedding: FloatArray, expected: Reference, same_pixels: int, remark: str
) -> Verification:
    tolerance = TOLERANCES[model.artifact.precision]
    logit_tolerance = embedding_tolerance = cosine_limit = None
    if isinstance(tolerance, Difference):
        logit_tolerance = tolerance.limit(tolerance.logits, expected.logits)
        embedding_tolerance = tolerance.limit(tolerance.embedding, expected.embedding)
    else:
        cosine_limit = tolerance.least
    return Verification(
        reference=reference.NAME,
        runtime=f"onnxruntime {import_onnxruntime().__version__}, {model.provider}",
        remark=remark,
        pictures=len(logits),
        same_top1=int((logits.argmax(1) == expected.logits.argmax(1)).sum()),
        same_pixels=same_pixels,
        max_logit_difference=largest_difference(logits, expected.logits),
        max_embedding_difference=largest_difference(embedding, expected.embedding),
        min_logit_cosine=float(cosines(logits, expected.logits).min()),
        min_embedding_cosine=float(cosines(embedding, expected.embedding).min()),
        logit_tolerance=logit_tolerance,
        embedding_tolerance=embedding_tolerance,
        cosine_limit=cosine_limit,
    )


def cosines(ours: FloatArray, reference_values: FloatArray) -> FloatArray:
    """The cosine of each row (N, n) with its counterpart: (N,); 1 where both are zero."""
    a, b = ours.astype(np.float64), reference_values.astype(np.float64)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    with np.errstate(invalid="ignore"):  # infinite answers give NaN, which passes no limit
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = (a * b).sum(axis=1) / np.where(norms == 0, 1.0, norms)
    return np.where(both_zero, 1.0, cosine).astype(np.float32)


def passed(result: Verification) -> bool:
    """Whether a verification holds; NaN and infinity do not."""
    measured = (result.max_logit_difference, result.max_embedding_difference)
    limits = (result.logit_tolerance, result.embedding_tolerance)
    cosine = min(result.min_logit_cosine, result.min_embedding_cosine)
    return (
        all(map(math.isfinite, measured))
        and result.same_pixels == result.pictures
        and all(limit is None or value <= limit for value, limit in zip(measured, limits, strict=True))
        and (result.cosine_limit is None or cosine >= result.cosine_limit)
    )


def self_test(answers: tuple[FloatArray, FloatArray], artifact: Artifact, verification: Verification) -> SelfTest:
    """What an artifact stores so that any machine can check itself.

    In fp32 against PyTorch. A quantized file differs from PyTorch by more than a faulty kernel might, so it stores its
    own answers, which the verification has just compared with PyTorch's.
    """
    logits, embedding = answers
    share = SELF_TEST_SHARE.get(artifact.precision)
    tolerances = (
        (
            SELF_TEST_SLACK * (verification.logit_tolerance or 0),
            SELF_TEST_SLACK * (verification.embedding_tolerance or 0),
        )
        if share is None
        else (share * float(np.abs(logits[0]).max()), share * float(np.abs(embedding[0]).max()))
    )
    return SelfTest(
        formula="waves",
        pixels_sha256=pixels_sha256(artifact.preprocessing),
        answers="reference" if share is None else "export",
        logits=_exact(logits[0]),
        embedding=_exact(embedding[0]),
        logit_tolerance=tolerances[0],
        embedding_tolerance=tolerances[1],
    )


def _limit(limit: float | None) -> str:
    return "" if limit is None else f" (limit {limit:.2g})"


def _exact(values: FloatArray) -> tuple[float, ...]:
    """float32 values with the nine digits that bring back every bit."""
    return tuple(float(f"{value:.9g}") for value in values)
