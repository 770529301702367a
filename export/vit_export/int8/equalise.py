"""Moves the spread of activation channels into the weights, exactly, so that one scale fits all channels.

A linear layer's input x becomes (x - shift) / scale, channel by channel, and the layer makes up for it:
W x + b = (W · scale) (x - shift) / scale + (b + W shift). The division costs nothing where it can be folded away:

- into the LayerNorm in front, whose weight and bias act on the same channels (SmoothQuant: Xiao et al. 2023, equation 4
  with its migration strength at 1; the shift is that of Outlier Suppression+: Wei et al. 2023, equation 3);
- for attention's output projection into the value rows of the input projection, since attention is linear in V and its
  probabilities sum to one.

The equalised weights are an equivalent model under the same names: PyTorch itself gives the same answers with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from vit_export.write.weights import WeightSource
from vit_runtime.arrays import FloatArray

_SMALLEST_SHARE: Final = 0.1
"""Least scale of a channel, as a share of the median of those that move: new pictures may move the other channels."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The centre and half width of each channel's values, (width,)."""

    shift: FloatArray
    scale: FloatArray

    @classmethod
    def of_range(cls, low: FloatArray, high: FloatArray, *, strength: float = 1.0) -> Spread:
        """Gives the spread of channels whose values were seen between `low` and `high`.

        `strength` is SmoothQuant's migration strength: at 1 all channels become alike, at 0 none changes its part.
        """
        half = (high - low) / 2
        moving = half[half > 0]
        typical = float(np.median(moving)) if len(moving) else 1.0
        scale = np.maximum(half, _SMALLEST_SHARE * typical if len(moving) else 1.0)
        scale = scale**strength * typical ** (1 - strength)
        return cls(shift=np.asarray((high + low) / 2, np.float32), scale=np.asarray(scale, np.float32))

    @classmethod
    def of_peaks(cls, peaks: FloatArray, *, strength: float) -> Spread:
        """Gives the spread for partial equalisation, from roughly known largest absolute values (width,).

        `strength` is SmoothQuant's migration strength; 0 leaves all as it is.
        """
        typical = float(np.median(peaks)) or 1.0
        scale = np.maximum(peaks / typical, _SMALLEST_SHARE) ** strength
        return cls(shift=np.zeros_like(scale, np.float32), scale=np.asarray(scale, np.float32))


@dataclass(frozen=True, kw_only=True)
class BlockSpread:
    """The spreads of one encoder block's three inputs that can be equalised."""

    normalised: Spread
    """Spread of ln_1's output."""
    mixed: Spread
    """Spread of attention's mix of values."""
    mlp: Spread
    """Spread of ln_2's output."""


class EqualisedWeights:
    """The weights of an equivalent model, under the same names.

    Blocks are equalised one after the other. Layers that were recorded before get the new weights too, because they ask
    for weights only when they need them.
    """

    def __init__(self, weights: WeightSource, *, gated_mlp: bool = False) -> None:
        """Takes the original weights, and gives them unchanged until their block is equalised.

        Args:
            weights: of the model.
            gated_mlp: whether two layers read what comes into the MLP.
        """
        self._weights = weights
        self._mlp_inputs = ("mlp.0", "mlp.gate") if gated_mlp else ("mlp.0",)
        self._changed: dict[str, Callable[[], FloatArray]] = {}

    def equalise(self, blocks: Mapping[str, BlockSpread]) -> None:
        """Equalises some blocks for good; their key is the prefix of their weights' names."""
        for key, spread in blocks.items():
            self._equalise_attention(key, spread.normalised, spread.mixed)
            self._equalise_mlp(key, spread.mlp)

    def __call__(self, name: str) -> FloatArray:
        """Gives one tensor as float32; see `WeightSource`."""
        changed = self._changed.get(name)
        return self._weights(name) if changed is None else np.asarray(changed(), np.float32)

    def _equalise_attention(self, key: str, normalised: Spread, mixed: Spread) -> None:
        weights, projection = self._weights, f"{key}.self_attention"
        self._fold_into_norm(f"{key}.ln_1", normalised)

        def packed_weight() -> FloatArray:
            packed = weights(f"{projection}.in_proj_weight") * normalised.scale
            values = slice(2 * packed.shape[1], None)
            packed[values] /= mixed.scale[:, None]
            return packed

        def packed_bias() -> FloatArray:
            packed = _compensated_bias(
                weights, f"{projection}.in_proj_weight", f"{projection}.in_proj_bias", normalised
            )
            values = slice(2 * len(packed) // 3, None)
            packed[values] = (packed[values] - mixed.shift) / mixed.scale
            return packed

        self._changed[f"{projection}.in_proj_weight"] = packed_weight
        self._changed[f"{projection}.in_proj_bias"] = packed_bias
        self._compensate(f"{projection}.out_proj", mixed)

    def _equalise_mlp(self, key: str, spread: Spread) -> None:
        self._fold_into_norm(f"{key}.ln_2", spread)
        for layer in self._mlp_inputs:
            self._compensate(f"{key}.{layer}", spread)

    def _fold_into_norm(self, name: str, spread: Spread) -> None:
        weights = self._weights
        self._changed[f"{name}.weight"] = lambda: weights(f"{name}.weight") / spread.scale
        self._changed[f"{name}.bias"] = lambda: (weights(f"{name}.bias") - spread.shift) / spread.scale

    def _compensate(self, name: str, spread: Spread) -> None:
        weights = self._weights
        self._changed[f"{name}.weight"] = lambda: weights(f"{name}.weight") * spread.scale
        self._changed[f"{name}.bias"] = lambda: _compensated_bias(weights, f"{name}.weight", f"{name}.bias", spread)


def _compensated_bias(weights: WeightSource, weight: str, bias: str, spread: Spread) -> FloatArray:
    """Gives b + W shift, added up in double precision."""
    return np.asarray(weights(bias) + weights(weight).astype(np.float64) @ spread.shift, np.float32)
