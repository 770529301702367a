"""Verification: the written file, run by `vit_runtime`, against PyTorch's answers for the same pictures.

The two halves are apart so that PyTorch's weights can be let go before onnxruntime loads its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import torch
from PIL import Image

from vit_export.errors import VerificationError
from vit_export.verify import reference
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import (
    Architecture,
    Artifact,
    Output,
    OutputCheck,
    Precision,
    Preprocessing,
    Reading,
    Rollout,
    SelfTest,
    StoredAnswer,
    Verification,
)
from vit_runtime.devices.session import import_onnxruntime
from vit_runtime.errors import option
from vit_runtime.model import ViT
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.selftest import largest_difference, pixels_sha256, waves


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Largest difference from PyTorch that is accepted, for values up to `unit` in size; larger ones in proportion."""

    most: float
    unit: float

    def limit(self, reference_values: FloatArray) -> float:
        """The limit for values of the size that the reference has."""
        return self.most * max(1.0, float(np.abs(reference_values).max()) / self.unit)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Smallest cosine with PyTorch's answer that is accepted, for the picture that comes out worst."""

    least: float


Tolerance = dict[Output, Difference | Cosine]

TOLERANCES: Final[dict[Precision, Tolerance]] = {
    # Worst measured: 6.8e-5 of a logit, DeiT-Tiny's real weights on 500 photos (docs/log.md, 2026-11-23). A rollout's
    # values are shares: those of all tokens add up to 1.
    "fp32": {
        "logits": Difference(most=1e-4, unit=10.0),
        "embedding": Difference(most=1e-4, unit=10.0),
        "rollout": Difference(most=1e-6, unit=1.0),
    },
    # Worst measured on the formula pictures: docs/log.md, 2026-11-23, int8.
    "int8": dict.fromkeys(get_args(Output), Cosine(least=0.95)),
    "fp16": dict.fromkeys(get_args(Output), Cosine(least=0.999)),
}
_DISCARDING: Final = Cosine(least=0.999)
"""Weights that are equal but for rounding may lie on either side of the smallest that stays. Measured: a difference of
7e-5 where values go up to 0.02, ViT-B/16 with random weights, largest of heads, 90 % discarded."""
SELF_TEST_SLACK: Final = 10.0
"""Other processors add up in another order; a wrong kernel is off by a hundred times more than this."""
SELF_TEST_SHARE: Final[dict[Precision, float]] = {"int8": 0.1, "fp16": 0.01}
"""Limit of a self-test on the file's own answers, as a share of the largest: another order of adding up tips values
over to the next step of a grid. Measured: docs/decisions/0007."""

_SHARE_OF_DISCARDING: Final = 0.1
"""The same for fp32 maps that leave out small weights, which are held to a cosine too."""

_REMEDIES: Final[dict[Precision, str]] = {
    "fp32": "nothing was written; please report it with the model's name",
    "int8": "nothing was written; calibrate on more fitting photos, or keep layers float with {}",
    "fp16": "nothing was written; export it in fp32",
}
_PHOTOS_HW: Final = ((333, 517), (640, 427), (97, 64))
"""A landscape, a portrait, and one smaller than any crop."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """PyTorch's answers: first for the self-test's picture, then for the formula photos."""

    name: str
    reading: Reading
    inputs: tuple[torch.Tensor, ...]
    answers: dict[Output, FloatArray]


def photos() -> list[Image.Image]:
    """Pictures by formula, of sizes that a camera might give."""
    return [Image.fromarray(waves(size_hw, variant=index + 1)) for index, size_hw in enumerate(_PHOTOS_HW)]


def ask_reference(
    model: reference.ReferenceModel, arch: Architecture, preprocessing: Preprocessing, rollout: Rollout | None = None
) -> Reference:
    """Runs a model in PyTorch and its transforms on the verification's pictures."""
    test_picture = reference.normalise(waves(preprocessing.crop_hw), preprocessing)
    inputs = (test_picture, *(reference.prepare(photo, preprocessing) for photo in photos()))
    return Reference(
        name=model.name, reading=model.reading, inputs=inputs, answers=reference.answers(model, inputs, arch, rollout)
    )


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
    outputs = model.artifact.outputs
    batches = [model.run(np.stack(pixels[:1])), model.run(np.stack(pixels[1:]))]
    answers = dict(zip(outputs, (np.concatenate(parts) for parts in zip(*batches, strict=True)), strict=True))
    checks = tuple(
        _check(output, answers[output], expected.answers[output], _tolerance(output, model.artifact))
        for output in outputs
    )
    result = Verification(
        reference=expected.name,
        reading=expected.reading,
        runtime=f"onnxruntime {import_onnxruntime().__version__}, {model.provider}",
        remark=remark,
        pictures=len(pixels),
        same_top1=_same_top1(answers["logits"], expected.answers["logits"]) if "logits" in answers else None,
        same_pixels=same_pixels,
        outputs=checks,
    )
    if not passed(result):
        differences = ", ".join(map(_describe, checks))
        raise VerificationError(
            model.artifact.model,
            f"differs from PyTorch: {differences}, "
            f"preparation of {result.pictures - same_pixels} of {result.pictures} pictures",
            _REMEDIES[model.artifact.precision].format(option("keep_float")),
        )
    stored = expected.answers if model.artifact.precision == "fp32" else answers
    return result, self_test(stored, model.artifact, result)


def _tolerance(output: Output, artifact: Artifact) -> Difference | Cosine:
    """What an output is held to; maps that leave out small weights have no close limit of difference."""
    tolerance = TOLERANCES[artifact.precision][output]
    discards = output == "rollout" and artifact.rollout is not None and artifact.rollout.discard_ratio > 0
    return _DISCARDING if discards and isinstance(tolerance, Difference) else tolerance


def _check(output: Output, ours: FloatArray, expected: FloatArray, tolerance: Difference | Cosine) -> OutputCheck:
    return OutputCheck(
        output=output,
        max_difference=largest_difference(ours, expected),
        min_cosine=float(cosines(ours, expected).min()),
        tolerance=tolerance.limit(expected) if isinstance(tolerance, Difference) else None,
        cosine_limit=tolerance.least if isinstance(tolerance, Cosine) else None,
    )


def _same_top1(ours: FloatArray, expected: FloatArray) -> int:
    return int((ours.argmax(1) == expected.argmax(1)).sum())


def _describe(check: OutputCheck) -> str:
    return (
        f"{check.output} by {check.max_difference:.1e}{_limit(check.tolerance)}, "
        f"smallest cosine {check.min_cosine:.4f}{_limit(check.cosine_limit)}"
    )


def cosines(ours: FloatArray, reference_values: FloatArray) -> FloatArray:
    """The cosine of each picture's values (N, ...) with its counterpart: (N,); 1 where both are zero."""
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (ours, reference_values))
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    with np.errstate(invalid="ignore"):  # infinite answers give NaN, which passes no limit
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = (a * b).sum(axis=1) / np.where(norms == 0, 1.0, norms)
    return np.where(both_zero, 1.0, cosine).astype(np.float32)


def passed(result: Verification) -> bool:
    """Whether a verification holds; NaN and infinity do not."""
    return result.same_pixels == result.pictures and all(map(_holds, result.outputs))


def _holds(check: OutputCheck) -> bool:
    return (
        math.isfinite(check.max_difference)
        and (check.tolerance is None or check.max_difference <= check.tolerance)
        and (check.cosine_limit is None or check.min_cosine >= check.cosine_limit)
    )


def self_test(answers: Mapping[Output, FloatArray], artifact: Artifact, verification: Verification) -> SelfTest:
    """What an artifact stores so that any machine can check itself.

    In fp32 against PyTorch. A quantized file differs from PyTorch by more than a faulty kernel might, so it stores its
    own answers, which the verification has just compared with PyTorch's.
    """
    share = SELF_TEST_SHARE.get(artifact.precision)

    def stored(check: OutputCheck) -> StoredAnswer:
        values = answers[check.output][0]
        if check.tolerance is None:
            limit = (share or _SHARE_OF_DISCARDING) * float(np.abs(values).max())
        else:
            limit = SELF_TEST_SLACK * check.tolerance
        return StoredAnswer(output=check.output, values=_exact(values.ravel()), tolerance=limit)

    return SelfTest(
        formula="waves",
        pixels_sha256=pixels_sha256(artifact.preprocessing),
        answers="reference" if share is None else "export",
        outputs=tuple(map(stored, verification.outputs)),
    )


def _limit(limit: float | None) -> str:
    return "" if limit is None else f" (limit {limit:.2g})"


def _exact(values: FloatArray) -> tuple[float, ...]:
    """float32 values with the nine digits that bring back every bit."""
    return tuple(float(f"{value:.9g}") for value in values)
