"""Makes a model's int8 recipe, with calibration pictures or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vit_export.int8.calibration_pictures import CalibrationPictures
from vit_export.int8.cpu import WeightRounder
from vit_export.int8.equalise import EqualisedWeights, Spread
from vit_export.int8.float_graph import FloatAnswers, FloatGraph
from vit_export.int8.natural_pictures import noise_pictures, patch_moment
from vit_export.int8.quantizer import ActivationRounding, Calibrated, Quantizer, block_spreads
from vit_export.int8.recipe import LOWERINGS, Int8Recipe
from vit_export.int8.rounding import QuantizedWeight, SecondMoment, round_to_nearest
from vit_export.progress import Progress
from vit_export.write.blueprint import Blueprint
from vit_export.write.graph import PATCH_PROJECTION
from vit_export.write.linear import Linear
from vit_runtime.artifact import Target

_CLOUDS: Final = 8
_CLOUD_STRENGTH: Final = 0.3
"""Strength of equalisation by clouds of noise. At full strength, rounding the weights would lose more than activations
gain, because clouds are no photos (docs/log.md)."""


def without_pictures(blueprint: Blueprint, folder: Path, progress: Progress) -> Int8Recipe:
    """Makes a recipe that quantizes activations while the model runs; `folder` is for temporary files.

    Some channels are much larger than others for any picture. Clouds of noise show which, well enough to equalise them
    in part.
    """
    progress.stage("finding large channels")
    float_graph = FloatGraph(folder, blueprint)
    peaks = float_graph.peaks(noise_pictures(blueprint.arch.image_size, _CLOUDS))
    equalised = EqualisedWeights(blueprint.weights, gated_mlp=blueprint.arch.gated_mlp)
    equalised.equalise(block_spreads(peaks, lambda site: Spread.of_peaks(peaks[site], strength=_CLOUD_STRENGTH)))
    return Int8Recipe(
        blueprint=replace(blueprint, weights=equalised),
        target="cpu",
        rounder=_nearest_but_for_pixels(),
        layers=float_graph.int8_layers,
        float32_bytes=float_graph.float32_bytes,
        calibrated=None,
    )


def with_pictures(
    blueprint: Blueprint, targets: Sequence[Target], pictures: CalibrationPictures, folder: Path, progress: Progress
) -> tuple[list[Int8Recipe], FloatAnswers]:
    """Makes a calibrated recipe for each target, and the float32 graph's answers for the pictures.

    The pictures pass once for all targets; `folder` is for temporary files.
    """
    equalised = EqualisedWeights(blueprint.weights, gated_mlp=blueprint.arch.gated_mlp)
    blueprint = replace(blueprint, weights=equalised)
    float_graph = FloatGraph(folder, blueprint)  # written before anything is equalised
    quantizer = Quantizer(equalised, float_graph.layers, [_rounding_for(target) for target in targets])
    answers = FloatAnswers()
    groups = list(float_graph.groups())
    for number, group in enumerate(groups, start=1):
        part = f", part {number} of {len(groups)}" if len(groups) > 1 else ""
        progress.stage(f"calibrating on {len(pictures.pixels)} pictures{part}", total=len(pictures.pixels))
        observed, answers = float_graph.observe(group, pictures.pixels, progress)
        count = quantizer.layers_behind(observed)
        progress.stage(f"rounding {count} layers{part}", total=count)
        quantizer.take(observed, progress.advance)
    recipes = [
        Int8Recipe(
            blueprint=blueprint,
            target=target,
            rounder=_rounded_before(calibrated),
            layers=float_graph.int8_layers,
            float32_bytes=float_graph.float32_bytes,
            calibrated=calibrated,
        )
        for target, calibrated in zip(targets, quantizer.results, strict=True)
    ]
    return recipes, answers


def _rounding_for(target: Target) -> ActivationRounding:
    lowering = LOWERINGS[target]
    return ActivationRounding(
        simulate=lambda ranges: lowering(_nearest, ranges).simulate, constant_scales=lowering.constant_scales
    )


def _rounded_before(calibrated: Calibrated) -> WeightRounder:
    return lambda path, _layer: calibrated.weights[path]


def _nearest(path: str, layer: Linear) -> QuantizedWeight:  # noqa: ARG001 - a `WeightRounder`
    return round_to_nearest(layer.weight())


def _nearest_but_for_pixels() -> WeightRounder:
    """Rounds to nearest, except the patch projection: the statistics of pixels are known without any photo."""
    patch_projection: list[QuantizedWeight] = []  # kept: the graph asks twice, rounding takes seconds

    def rounder(path: str, layer: Linear) -> QuantizedWeight:
        if path != PATCH_PROJECTION:
            return _nearest(path, layer)
        if not patch_projection:
            patch_projection.append(SecondMoment(patch_moment(layer.shape[1])).round(layer.weight()))
        return patch_projection[0]

    return rounder
