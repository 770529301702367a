"""Static int8 quantization: from a calibration pass to int8 weights, activation ranges and each layer's loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch

from vit_export.int8.equalise import BlockSpread, EqualisedWeights, Spread
from vit_export.int8.observed import Observed, Samples
from vit_export.int8.rounding import QuantizedWeight, Range, SecondMoment
from vit_export.names import block_name
from vit_export.write.lowering import Activation, PlacedLinear
from vit_runtime.arrays import FloatArray

RANGE_MARGIN: Final = 1.1
"""Room in a range for new pictures: a value cut off costs far more than steps a tenth larger (docs/log.md)."""
_LOSSLESS_DB: Final = 200.0
_UNCHANGED: Final = Spread(shift=np.zeros(1, np.float32), scale=np.ones(1, np.float32))
_SHARES: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Shares of GELU's largest value that are tried as the end of its range."""
_LEAST_POWER: Final = 0.01
"""Power below which an output row's error is no longer compared with the row itself, as a share of the mean power."""
_SMALLEST: Final = 1e-30
"""Least power, for layers that always answer zero."""
_STRENGTH: Final = 0.75
"""Strength of equalisation. At full strength, rounding the weights loses more than activations gain (docs/log.md)."""
Simulate = Callable[[Activation, FloatArray], FloatArray]


@dataclass(kw_only=True)
class Calibrated:
    """What calibration found out for one target; its static int8 graph is written with it."""

    ranges: dict[str, Range] = field(default_factory=dict)
    """Ranges of the equalised activations, by site."""
    weights: dict[str, QuantizedWeight] = field(default_factory=dict)
    """Rounded weights, by the linear layer's path."""
    sqnr: dict[str, float] = field(default_factory=dict)
    """Signal to quantization noise of each linear layer's output in dB, by its path."""


@dataclass(frozen=True, kw_only=True)
class ActivationRounding:
    """How a target rounds activations, as calibration tries it out."""

    simulate: Callable[[Mapping[str, Range]], Simulate]
    """Is given ranges of activations by site."""
    constant_scales: bool
    """Whether one scale serves all rows, even those of GELU's output."""

    def range_of(self, x: Activation, seen: Range, samples: Samples, weight: FloatArray) -> Range:
        """Gives the range that an activation's steps should cover: what was seen, but for GELU's output a part of it.

        GELU's largest values are few. If one constant scale has to serve all rows, cutting them off can cost less than
        coarse steps for all other values. In other places cutting off is ruinous (docs/log.md).

        The part is the one that changes the layer's output least, row by row: in some models the largest values are
        the class token's own, and the squared error of all rows hardly shows what becomes of one. `weight` is the
        layer's, (out, in).
        """
        if not self.constant_scales or x.kind != "gelu":
            return seen
        power = np.square(samples.rows @ weight.T).sum(axis=1)
        importance = samples.weights / np.maximum(power, max(_LEAST_POWER * float(power.mean()), _SMALLEST))

        def loss(part: Range) -> float:
            noise = (self.simulate({x.site: part})(x, samples.rows) - samples.rows) @ weight.T
            return float((np.square(noise).sum(axis=1) * importance).sum(dtype=np.float64))

        return min((Range(low=seen.low, high=share * seen.high) for share in _SHARES), key=loss)


class Quantizer:
    """Quantizes a model a few blocks at a time, from what a `FloatGraph` has observed of them.

    One pass serves several targets. Their weights are the same; ranges and losses are each target's own.
    """

    def __init__(
        self, equalised: EqualisedWeights, layers: Iterable[PlacedLinear], roundings: Sequence[ActivationRounding]
    ) -> None:
        """Takes the model's layers, recorded on weights that are not equalised yet, and how each target rounds."""
        self._equalised = equalised
        self._layers: dict[str, list[PlacedLinear]] = {}
        for layer in layers:
            self._layers.setdefault(layer.input.site, []).append(layer)
        self._roundings = roundings
        self.results = [Calibrated() for _ in roundings]
        """What was found out for each target, in the order of `roundings`."""

    def layers_behind(self, sites: Iterable[str]) -> int:
        """Counts the layers that read what comes into these places."""
        return sum(len(self._layers[site]) for site in sites)

    def take(self, observed: dict[str, Observed], advance: Callable[[int], None]) -> None:
        """Quantizes the layers that read the observed places; frees the observations, and calls `advance` per layer."""
        spreads = block_spreads(
            observed, lambda site: Spread.of_range(observed[site].low, observed[site].high, strength=_STRENGTH)
        )
        self._equalised.equalise(spreads)
        targets = list(zip(self._roundings, self.results, strict=True))
        for site in list(observed):
            seen = observed.pop(site)  # freed one by one: the second moments are large
            spread, layers = _spread_of(site, spreads), self._layers[site]
            moment = SecondMoment(_equalised_moment(seen, spread))
            sampled, first = seen.sampled(), layers[0]
            for rounding, result in targets:
                result.ranges[site] = rounding.range_of(
                    first.input, _range(seen, spread), sampled, first.layer.weight()
                )
            samples = np.concatenate([(sample - spread.shift) / spread.scale for sample in seen.samples])
            for layer in layers:
                weight = layer.layer.weight()
                rounded = moment.round(weight)
                signal, used = samples @ weight.T, rounded.dequantized().T
                for rounding, result in targets:
                    result.weights[layer.path] = rounded
                    noisy = rounding.simulate(result.ranges)(layer.input, samples)
                    result.sqnr[layer.path] = _sqnr(signal, noisy @ used)
                advance(1)


def block_spreads(sites: Iterable[str], spread: Callable[[str], Spread]) -> dict[str, BlockSpread]:
    """Gives the spreads of blocks with places among `sites`, by their weights' prefix; `spread` gives one place's."""
    blocks = sorted({site.split("/")[1] for site in sites if site.startswith("encoder/")}, key=int)
    return {
        block_name(int(block)): BlockSpread(
            normalised=spread(f"encoder/{block}/attention/input"),
            mixed=spread(f"encoder/{block}/attention/mixed"),
            mlp=spread(f"encoder/{block}/mlp/input"),
        )
        for block in blocks
    }


def _spread_of(site: str, spreads: Mapping[str, BlockSpread]) -> Spread:
    """Gives the change that equalisation made to an activation; GELU and pixels are not changed."""
    part, *rest = site.split("/")
    if part != "encoder":
        return _UNCHANGED
    spread = spreads[block_name(int(rest[0]))]
    return {
        "attention/input": spread.normalised,
        "attention/mixed": spread.mixed,
        "mlp/input": spread.mlp,
    }.get("/".join(rest[1:]), _UNCHANGED)


def _range(seen: Observed, spread: Spread) -> Range:
    return Range(
        low=RANGE_MARGIN * float(((seen.low - spread.shift) / spread.scale).min()),
        high=RANGE_MARGIN * float(((seen.high - spread.shift) / spread.scale).max()),
    )


def _equalised_moment(seen: Observed, spread: Spread) -> torch.Tensor:
    """Gives E[x' x'ᵀ] of x' = (x - shift) / scale, from the sums over x; (width, width)."""
    if spread is _UNCHANGED:
        return seen.moment / seen.weight
    shift, scale = (torch.from_numpy(values).double() for values in (spread.shift, spread.scale))
    mean = torch.from_numpy(seen.total).double() / seen.weight
    moment = seen.moment.double() / seen.weight
    moment += torch.outer(shift, shift) - torch.outer(mean, shift) - torch.outer(shift, mean)
    return moment / torch.outer(scale, scale)


def _sqnr(signal: FloatArray, noisy: FloatArray) -> float:
    """Gives signal over noise in dB, 10 log₁₀ of their powers; a layer that always answers zero has lost nothing."""
    noise = float(np.square(noisy - signal, dtype=np.float64).sum())
    power = float(np.square(signal, dtype=np.float64).sum())
    if noise == 0 or power == 0:
        return _LOSSLESS_DB
    return min(_LOSSLESS_DB, 10 * float(np.log10(power / noise)))
