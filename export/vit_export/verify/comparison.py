"""Verification: the written file, run by `vit_runtime`, against PyTorch's answers for the same pictures.

`ask_reference` and `verify` are apart, so that PyTorch's weights are freed before onnxruntime loads its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image

from vit_export.errors import VerificationError
from vit_export.similarity import cosines
from vit_export.verify.reference import ReferenceModel, answers
from vit_export.verify.tolerances import (
    SELF_TEST_SHARE,
    SELF_TEST_SLACK,
    SHARE_OF_DISCARDING,
    Cosine,
    Difference,
    tolerance_of,
)
from vit_export.verify.transforms import normalise, prepare
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import (
    Architecture,
    Description,
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
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.providers import CPU_PROVIDER
from vit_runtime.errors import option
from vit_runtime.graph import Graph
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.selftest import largest_difference, pixels_sha256, waves
from vit_runtime.suitability import Made

_REMEDIES: Final[dict[Precision, str]] = {
    "fp32": "nothing was written; please report it with the model's name",
    "int8": "nothing was written; calibrate on more fitting photos, or keep layers float with {}",
    "fp16": "nothing was written; export it in fp32",
}
_PHOTOS_HW: Final = ((333, 517), (640, 427), (97, 64))
"""Heights and widths in pixels: a landscape, a portrait, and a picture smaller than any crop."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """PyTorch's answers: first for the self-test's picture, then for the formula photos."""

    name: str
    reading: Reading
    inputs: tuple[torch.Tensor, ...]
    answers: dict[Output, FloatArray]


def photos() -> list[Image.Image]:
    """Makes pictures by formula, in sizes that a camera might give."""
    return [Image.fromarray(waves(size_hw, variant=index + 1)) for index, size_hw in enumerate(_PHOTOS_HW)]


def ask_reference(
    model: ReferenceModel, arch: Architecture, preprocessing: Preprocessing, rollout: Rollout | None = None
) -> Expected:
    """Runs a model in PyTorch and its transforms on the verification's pictures."""
    test_picture = normalise(waves(preprocessing.crop_hw), preprocessing)
    inputs = (test_picture, *(prepare(photo, preprocessing) for photo in photos()))
    return Expected(
        name=model.name, reading=model.reading, inputs=inputs, answers=answers(model, inputs, arch, rollout)
    )


def verify(graph: Graph, expected: Expected) -> tuple[Verification, SelfTest]:
    """Compares the graph's answers with the reference's, at batch size 1 and at batch size 3.

    The self-test comes from the same answers.

    Raises:
        VerificationError: a difference is above its tolerance, or preprocessing gives other bytes.
    """
    description = graph.description
    preprocessing = description.preprocessing
    pixels = [waves(preprocessing.crop_hw), *(load_pixels(photo, preprocessing) for photo in photos())]
    same_pixels = sum(
        torch.equal(normalise(ours, preprocessing), theirs)
        for ours, theirs in zip(pixels, expected.inputs, strict=True)
    )
    outputs = description.outputs
    batches = [graph.run(np.stack(pixels[:1])), graph.run(np.stack(pixels[1:]))]
    ours = dict(zip(outputs, (np.concatenate(parts) for parts in zip(*batches, strict=True)), strict=True))
    checks = tuple(
        _check(output, ours[output], expected.answers[output], tolerance_of(output, description)) for output in outputs
    )
    result = Verification(
        reference=expected.name,
        reading=expected.reading,
        runtime=f"onnxruntime {import_onnxruntime().__version__}, {graph.provider}",
        remark=not_checked(description, graph.provider),
        pictures=len(pixels),
        same_top1=_same_top1(ours["logits"], expected.answers["logits"]) if "logits" in ours else None,
        same_pixels=same_pixels,
        outputs=checks,
    )
    if not passed(result):
        differences = ", ".join(map(_describe, checks))
        raise VerificationError(
            f"{description.model} for {description.target}",
            f"differs from PyTorch: {differences}, "
            f"preparation of {result.pictures - same_pixels} of {result.pictures} pictures",
            _REMEDIES[description.precision].format(option("keep_float")),
        )
    stored = expected.answers if description.precision == "fp32" else ours
    return result, _self_test(stored, description, result)


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


def not_checked(description: Made, provider: str) -> str:
    """Says in words what a verification on this provider leaves unchecked; empty where it leaves nothing."""
    if provider != CPU_PROVIDER or description.target == "cpu":
        return ""
    emulated = ", where fp16 is computed in fp32 and rounded" if description.precision == "fp16" else ""
    if description.target == "gpu":
        return f"checked on the CPU{emulated}: no CUDA here"
    if description.precision == "fp32":
        return ""
    others = "OpenVINO" if description.target == "openvino" else "TensorRT or other runtimes"
    return f"checked on the CPU{emulated}: not with {others}"


def passed(result: Verification) -> bool:
    """Whether all differences are within their limits; NaN and infinity never are."""
    return result.same_pixels == result.pictures and all(map(_holds, result.outputs))


def _holds(check: OutputCheck) -> bool:
    return (
        math.isfinite(check.max_difference)
        and (check.tolerance is None or check.max_difference <= check.tolerance)
        and (check.cosine_limit is None or check.min_cosine >= check.cosine_limit)
    )


def _self_test(answers: Mapping[Output, FloatArray], description: Description, verification: Verification) -> SelfTest:
    """Makes what an artifact stores so that any machine can check itself.

    An fp32 file stores PyTorch's answers. A quantized file differs from PyTorch by more than a faulty kernel might, so
    it stores its own answers, which the verification has just compared with PyTorch's.
    """
    share = SELF_TEST_SHARE.get(description.precision)

    def stored(check: OutputCheck) -> StoredAnswer:
        values = answers[check.output][0]
        if check.tolerance is None:
            limit = (share or SHARE_OF_DISCARDING) * float(np.abs(values).max())
        else:
            limit = SELF_TEST_SLACK * check.tolerance
        return StoredAnswer(output=check.output, values=exact(values.ravel()), tolerance=limit)

    return SelfTest(
        formula="waves",
        pixels_sha256=pixels_sha256(description.preprocessing),
        answers="reference" if share is None else "export",
        outputs=tuple(map(stored, verification.outputs)),
    )


def _limit(limit: float | None) -> str:
    return "" if limit is None else f" (limit {limit:.2g})"


def exact(values: FloatArray) -> tuple[float, ...]:
    """Gives float32 values in nine digits, which are enough to bring back every bit."""
    return tuple(float(f"{value:.9g}") for value in values)
