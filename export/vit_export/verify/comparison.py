"""Verification: the written file, run by `vit_runtime`, against PyTorch's answers for the same pictures.

`ask_reference` and `verify` are apart, so that PyTorch's weights are freed before onnxruntime loads its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from vit_export.errors import VerificationError
from vit_export.verify.measuring import check, described, passed, photos, same_top1, self_test
from vit_export.verify.reference import ReferenceModel, answers
from vit_export.verify.tolerances import (
    tolerance_of,
)
from vit_export.verify.transforms import normalise, prepare
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import (
    Architecture,
    Output,
    Precision,
    Preprocessing,
    Reading,
    Rollout,
    SelfTest,
    Verification,
)
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.providers import CPU_PROVIDER
from vit_runtime.errors import option
from vit_runtime.graph import Graph
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.selftest import waves
from vit_runtime.suitability import Made

_REMEDIES: Final[dict[Precision, str]] = {
    "fp32": "nothing was written; please report it with the model's name",
    "int8": "nothing was written; calibrate on more fitting photos, or keep layers float with {}",
    "fp16": "nothing was written; export it in fp32",
}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """PyTorch's answers: first for the self-test's picture, then for the formula photos."""

    name: str
    reading: Reading
    inputs: tuple[torch.Tensor, ...]
    answers: dict[Output, FloatArray]


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
        check(output, ours[output], expected.answers[output], tolerance_of(output, description)) for output in outputs
    )
    result = Verification(
        reference=expected.name,
        reading=expected.reading,
        runtime=f"onnxruntime {import_onnxruntime().__version__}, {graph.provider}",
        remark=not_checked(description, graph.provider),
        pictures=len(pixels),
        same_top1=same_top1(ours["logits"], expected.answers["logits"]) if "logits" in ours else None,
        same_pixels=same_pixels,
        outputs=checks,
    )
    if not passed(result):
        differences = ", ".join(map(described, checks))
        raise VerificationError(
            f"{description.model} for {description.target}",
            f"differs from PyTorch: {differences}, "
            f"preparation of {result.pictures - same_pixels} of {result.pictures} pictures",
            _REMEDIES[description.precision].format(option("keep_float")),
        )
    stored = expected.answers if description.precision == "fp32" else ours
    return result, self_test(stored, description, result)


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
