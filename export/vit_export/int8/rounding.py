"""Rounds float weights to int8, with one scale an output channel.

Plain rounding keeps each weight closest to its value. Where the second moment of a layer's inputs is known, rounding
keeps the layer's *output* closest instead: each column's rounding error is made up for by the columns still to come
(GPTQ: Frantar et al. 2023, algorithm 1; the optimal brain surgeon of Hassibi and Stork 1993 for one weight at a time).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from vit_runtime.arrays import FloatArray

INT8_MAX: Final = 127
"""Largest size of an int8 weight: -128 is not used, so that both signs are alike."""
_DAMPING: Final = 0.01
"""Share of the mean diagonal added to the second moment, as in the paper's own code."""
_COLUMNS: Final = 128
"""Columns that are rounded before the rest of the matrix is brought up to date."""


@dataclass(frozen=True, kw_only=True)
class QuantizedWeight:
    """An int8 weight and its scales: W ≈ scale · values."""

    values: npt.NDArray[np.int8]
    """The rounded weight (out, in), from -127 to 127."""
    scale: FloatArray
    """The scale of each output channel (out,), above zero."""

    def dequantized(self) -> FloatArray:
        """Gives the weights that the int8 product really uses: float32 (out, in)."""
        return self.values.astype(np.float32) * self.scale[:, None]


@dataclass(frozen=True, kw_only=True)
class Range:
    """The least and the largest value that an activation was seen to have."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        """The largest absolute value; 1 for an activation that is always zero."""
        return max(abs(self.low), abs(self.high)) or 1.0


def round_to_nearest(weight: FloatArray) -> QuantizedWeight:
    """Rounds each weight to the nearest step of its output channel: float32 (out, in)."""
    scale = channel_scales(weight)
    values = np.rint(weight / scale[:, None]).astype(np.int8)
    return QuantizedWeight(values=values, scale=scale)


def channel_scales(weight: FloatArray) -> FloatArray:
    """Gives the scale of each output channel (out,): the largest weight becomes 127; 1 for a channel of zeros."""
    largest = np.abs(weight).max(axis=1)
    # A denormal scale would turn into zero or infinity in some kernel's arithmetic.
    return np.where(largest > np.finfo(np.float32).tiny * INT8_MAX, largest / INT8_MAX, 1.0).astype(np.float32)


class SecondMoment:
    """E[x xᵀ] of a layer's inputs, factorised for rounding; shared by all layers that read the same inputs."""

    def __init__(self, moment: torch.Tensor) -> None:
        """Takes float (in, in), symmetric and positive semidefinite."""
        moment = (moment.double() + moment.double().T) / 2
        # The paper's order: columns with the largest inputs come first, while others are left to make up for them.
        self._order = moment.diagonal().argsort(descending=True)
        self._factor = _factorise(moment[self._order][:, self._order])

    def round(self, weight: FloatArray) -> QuantizedWeight:
        """Rounds float32 weights (out, in) so that the layer's output on such inputs changes least."""
        scale = channel_scales(weight)
        steps = torch.from_numpy(scale).double()
        left = torch.from_numpy(weight).double()[:, self._order]
        values = torch.empty(left.shape, dtype=torch.int8)
        factor = self._factor
        for start in range(0, left.shape[1], _COLUMNS):
            stop = min(start + _COLUMNS, left.shape[1])
            block, errors = left[:, start:stop], torch.empty(len(left), stop - start, dtype=torch.float64)
            for column in range(stop - start):
                at = start + column
                rounded = (block[:, column] / steps).round().clamp(-INT8_MAX, INT8_MAX)
                values[:, at] = rounded.to(torch.int8)
                errors[:, column] = (block[:, column] - rounded * steps) / factor[at, at]
                block[:, column + 1 :] -= errors[:, column, None] * factor[at, at + 1 : stop]
            left[:, stop:] -= errors @ factor[start:stop, stop:]
        in_place = torch.empty_like(values)
        in_place[:, self._order] = values
        return QuantizedWeight(values=in_place.numpy(), scale=scale)


def _factorise(moment: torch.Tensor) -> torch.Tensor:
    """Gives the upper triangular U with Uᵀ U = moment⁻¹, of a damped moment: float64 (in, in).

    If inputs hardly vary, the moment is mostly rounding errors and may be indefinite: it is then damped more. If no
    damping helps, the factor is the identity, and weights are rounded to the nearest.
    """
    unit = torch.eye(len(moment), dtype=moment.dtype)
    size = float(moment.diagonal().clamp(min=0).mean())
    for damping in (_DAMPING, 0.1, 1.0, 10.0, 100.0):
        lower, failed = torch.linalg.cholesky_ex(moment + unit * damping * size)
        if size > 0 and not failed:
            inverse, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed and bool(torch.isfinite(inverse).all()):
                factor: torch.Tensor = inverse
                return factor
    return unit
