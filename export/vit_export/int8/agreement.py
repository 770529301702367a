"""Compares an int8 graph's answers for the calibration pictures with the float32 graph's."""

from __future__ import annotations

import numpy as np

from vit_export.int8.calibration_pictures import CalibrationPictures
from vit_export.int8.float_graph import FloatAnswers
from vit_export.progress import Progress
from vit_export.similarity import cosines
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Agreement, Output, OutputAgreement
from vit_runtime.graph import Graph
from vit_runtime.selftest import largest_difference


def agreement(graph: Graph, pictures: CalibrationPictures, answers: FloatAnswers, progress: Progress) -> Agreement:
    """Runs the written int8 graph on the calibration pictures, and compares its answers with the float32 graph's."""
    progress.stage("comparing with float32", total=len(pictures.pixels))
    ours: dict[Output, list[FloatArray]] = {output: [] for output in answers.of}
    for pixels in pictures.pixels:
        for output, values in zip(ours, graph.run(pixels[None], list(ours)), strict=True):
            ours[output].append(values[0])
        progress.advance(1)
    return Agreement(
        same_top1=_same_top1(ours["logits"], answers.of["logits"]) if "logits" in ours else None,
        outputs=tuple(_agreement(output, np.stack(ours[output]), np.stack(answers.of[output])) for output in ours),
    )


def _same_top1(ours: list[FloatArray], expected: list[FloatArray]) -> int:
    return int((np.stack(ours).argmax(1) == np.stack(expected).argmax(1)).sum())


def _agreement(output: Output, ours: FloatArray, expected: FloatArray) -> OutputAgreement:
    found = cosines(ours, expected)
    return OutputAgreement(
        output=output,
        mean_cosine=float(found.mean()),
        min_cosine=float(found.min()),
        max_difference=largest_difference(ours, expected),
    )
