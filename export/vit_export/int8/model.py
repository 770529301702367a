"""The way from a model to an int8 graph: calibrate, quantize, choose the layers that stay float, compare with float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from vit_export.int8.calibration_pictures import CalibrationPictures
from vit_export.int8.cpu import CpuInt8, WeightRounder
from vit_export.int8.equalise import EqualisedWeights, Spread
from vit_export.int8.keep_float import layers_to_keep, worst_first
from vit_export.int8.natural_pictures import noise_pictures, patch_moment
from vit_export.int8.observe import FloatAnswers, FloatModel
from vit_export.int8.portable import PortableInt8
from vit_export.int8.rounding import QuantizedWeight, SecondMoment, round_to_nearest
from vit_export.int8.static import Quantized, Quantizer, block_spreads
from vit_export.progress import Progress
from vit_export.verify.comparison import cosines
from vit_export.write.builder import GraphBuilder
from vit_export.write.graph import PATCH_PROJECTION, build_graph, linear_layers
from vit_export.write.linear import Linear, WeightSource
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import (
    Agreement,
    Architecture,
    LayerLoss,
    Output,
    OutputAgreement,
    Preprocessing,
    Quantization,
    Rollout,
    Target,
)
from vit_runtime.model import ViT
from vit_runtime.selftest import largest_difference

_CLOUDS: Final = 8
_CLOUD_STRENGTH: Final = 0.3
"""Clouds are no photos: at full strength rounding the weights would lose more than activations gain (docs/log.md)."""
_ACTIVATIONS: Final = {
    ("cpu", "static"): "uint8, calibrated behind LayerNorm and by row behind attention and GELU",
    ("cpu", "dynamic"): "uint8 by row",
    ("portable", "static"): "int8 symmetric, calibrated",
}


@dataclass(frozen=True, kw_only=True)
class Int8Model:
    """Writes int8 graphs of one model, with any choice of float layers."""

    arch: Architecture
    preprocessing: Preprocessing
    rollout: Rollout | None
    weights: WeightSource
    """Of the equalised model."""
    target: Target
    rounder: WeightRounder
    layers: tuple[str, ...]
    """Paths of the linear layers that int8 is for, in the order of the graph; the head is none of them."""
    quantized: Quantized | None
    """None for dynamic quantization."""

    def graph(self, keep_float: Sequence[str]) -> GraphBuilder:
        """Records the graph with some layers in float."""
        ranges = {} if self.quantized is None else self.quantized.ranges
        lowering = _LOWERINGS[self.target](self.rounder, ranges, frozenset(keep_float))
        return build_graph(self.arch, self.preprocessing, self.weights, lowering, self.rollout)

    def kept(self, wanted: int | tuple[str, ...]) -> tuple[str, ...]:
        """The layers to keep in float for what a user asked for; see `layers_to_keep`."""
        sqnr = None if self.quantized is None else self.quantized.sqnr
        return layers_to_keep(wanted, self.layers, sqnr)

    def worst(self) -> list[str]:
        """The layers by what they lose, the worst first; none for dynamic quantization."""
        return [] if self.quantized is None else worst_first(self.quantized.sqnr)

    def facts(
        self, kept: tuple[str, ...], pictures: CalibrationPictures | None, agreement: Agreement | None
    ) -> Quantization:
        """What the artifact says about its quantization."""
        scheme: Literal["static", "dynamic"] = "dynamic" if self.quantized is None else "static"
        sqnr = {} if self.quantized is None else self.quantized.sqnr
        float_graph = build_graph(self.arch, self.preprocessing, self.weights)
        return Quantization(
            scheme=scheme,
            weights="int8 per output channel",
            activations=_ACTIVATIONS[self.target, scheme],
            kept_float=kept,
            float32_bytes=sum(weight.nbytes for weight in float_graph.weights),
            calibration=None if pictures is None else pictures.facts,
            agreement=agreement,
            sensitivity=tuple(LayerLoss(layer=layer, sqnr_db=round(sqnr[layer], 2)) for layer in self.worst()),
        )


def _nearest(path: str, layer: Linear) -> QuantizedWeight:  # noqa: ARG001 - a `WeightRounder`
    return round_to_nearest(layer.weight())


def _without_photos() -> WeightRounder:
    """Rounds to nearest, but for the patch projection: what pixels are like is known without any photo."""
    patch_projection: list[QuantizedWeight] = []  # the graph asks for values and scales, rounding takes seconds

    def rounder(path: str, layer: Linear) -> QuantizedWeight:
        if path != PATCH_PROJECTION:
            return _nearest(path, layer)
        if not patch_projection:
            patch_projection.append(SecondMoment(patch_moment(layer.shape[1])).round(layer.weight()))
        return patch_projection[0]

    return rounder


_LOWERINGS: Final[dict[Target, type[CpuInt8 | PortableInt8]]] = {"cpu": CpuInt8, "portable": PortableInt8}


def dynamic(
    arch: Architecture,
    preprocessing: Preprocessing,
    weights: WeightSource,
    *,
    rollout: Rollout | None,
    folder: Path,
    progress: Progress,
) -> Int8Model:
    """An int8 model whose activations are quantized while it runs, in a folder for temporary files.

    Some channels are much larger than others whatever the picture: clouds of noise show which, well enough to equalise
    them in part.
    """
    progress.stage("finding large channels")
    peaks = FloatModel(folder, arch, preprocessing, weights).peaks(noise_pictures(arch.image_size, _CLOUDS))
    spreads = block_spreads(peaks, lambda site: Spread.of_peaks(peaks[site], strength=_CLOUD_STRENGTH))
    return Int8Model(
        arch=arch,
        preprocessing=preprocessing,
        rollout=rollout,
        weights=EqualisedWeights(weights, spreads),
        target="cpu",
        rounder=_without_photos(),
        layers=_int8_layers(arch, preprocessing, weights),
        quantized=None,
    )


def calibrate(
    arch: Architecture,
    preprocessing: Preprocessing,
    weights: WeightSource,
    *,
    rollout: Rollout | None,
    target: Target,
    pictures: CalibrationPictures,
    folder: Path,
    progress: Progress,
) -> tuple[Int8Model, FloatAnswers]:
    """Calibrates an int8 model, in a folder for temporary files; also the float32 graph's answers for the pictures."""
    layers = _int8_layers(arch, preprocessing, weights)
    lowering = _LOWERINGS[target]
    quantizer = Quantizer(
        arch,
        preprocessing,
        weights,
        lambda ranges: lowering(_nearest, ranges).simulate,
        constant_scales=target == "portable",
    )
    float_model = FloatModel(folder, arch, preprocessing, weights)
    answers = FloatAnswers()
    groups = list(float_model.groups())
    for number, group in enumerate(groups, start=1):
        part = f", part {number} of {len(groups)}" if len(groups) > 1 else ""
        progress.stage(f"calibrating on {len(pictures.pixels)} pictures{part}", total=len(pictures.pixels))
        observed, answers = float_model.observe(group, pictures.pixels, progress)
        of_group = [layer for layer in linear_layers(arch, preprocessing, weights) if layer.input.site in observed]
        progress.stage(f"rounding {len(of_group)} layers{part}", total=len(of_group))
        quantizer.take(observed, progress.advance)
    rounded = quantizer.result.weights
    model = Int8Model(
        arch=arch,
        preprocessing=preprocessing,
        rollout=rollout,
        weights=EqualisedWeights(weights, quantizer.result.spreads),
        target=target,
        rounder=lambda path, _layer: rounded[path],
        layers=layers,
        quantized=quantizer.result,
    )
    return model, answers


def agreement(model: ViT, pictures: CalibrationPictures, answers: FloatAnswers, progress: Progress) -> Agreement:
    """Runs the written int8 file on the calibration pictures, and compares with the float32 graph's answers."""
    progress.stage("comparing with float32", total=len(pictures.pixels))
    ours: dict[Output, list[FloatArray]] = {output: [] for output in answers.of}
    for pixels in pictures.pixels:
        for output, values in zip(ours, model.run(pixels[None], list(ours)), strict=True):
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


def _int8_layers(arch: Architecture, preprocessing: Preprocessing, weights: WeightSource) -> tuple[str, ...]:
    return tuple(layer.path for layer in linear_layers(arch, preprocessing, weights) if layer.input.kind != "head")
