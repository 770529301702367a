"""What came into one place of a graph while pictures passed through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch

from vit_runtime.arrays import FloatArray

_SAMPLED_PICTURES: Final = 32
_SAMPLED_ROWS: Final = 8
"""One row in this many is kept of each sampled picture, to try quantization on."""
_CLASS_TOKEN_WEIGHT: Final = 30.0
"""How many other tokens one class token counts for in second moments. It alone becomes the answer, and its errors are
half of the whole although it is one row of two hundred. Weights of 10 to 100 do as well (docs/log.md)."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Rows to try quantization on, and how much each of them counts."""

    rows: FloatArray
    """Activations (rows, width)."""
    weights: FloatArray
    """What each row counts (rows,): as in second moments, a class token as much as thirty others."""


@dataclass(kw_only=True)
class Observed:
    """What came into one place of the graph, row by row: a row is a token of a picture."""

    low: FloatArray
    """Smallest value of each channel (width,)."""
    high: FloatArray
    moment: torch.Tensor
    """Weighted sum of x xᵀ over all rows, float32 (width, width)."""
    total: FloatArray
    """Weighted sum of each channel (width,)."""
    samples: list[FloatArray] = field(default_factory=list)
    """Some rows as they came, (rows, width) each, to try quantization on."""
    class_tokens: list[FloatArray] = field(default_factory=list)
    """The class token's row of each picture, (1, width). Among the samples are too few of them to speak for it."""
    weight: float = 0.0
    """The sum of all rows' weights."""
    _rows: int = 0

    @classmethod
    def nothing(cls, width: int) -> Observed:
        """Makes the statistics as they are before the first picture."""
        return cls(
            low=np.full(width, np.inf, np.float32),
            high=np.full(width, -np.inf, np.float32),
            moment=torch.zeros(width, width),
            total=np.zeros(width, np.float32),
        )

    def add(self, values: FloatArray, *, class_token: bool) -> None:
        """Adds one picture's activations (..., width); `class_token` says whether the first row is that token."""
        matrix = values.reshape(-1, values.shape[-1])
        self.low = np.minimum(self.low, matrix.min(axis=0))
        self.high = np.maximum(self.high, matrix.max(axis=0))
        if len(self.samples) < _SAMPLED_PICTURES:
            first = len(self.samples) % _SAMPLED_ROWS if len(matrix) > _SAMPLED_ROWS else 0
            self.samples.append(matrix[first::_SAMPLED_ROWS].copy())
        weights = np.ones((len(matrix), 1), np.float32)
        if class_token:
            weights[0] = _CLASS_TOKEN_WEIGHT
            self.class_tokens.append(matrix[:1].copy())
        self._rows += len(matrix)
        weighted = weights * matrix
        self.weight += float(weights.sum())
        self.total += weighted.sum(axis=0)
        self.moment.addmm_(torch.from_numpy(weighted).T, torch.from_numpy(matrix))

    def sampled(self) -> Samples:
        """Gives the sampled rows and all class tokens; the samples stand for all rows that came."""
        count = sum(len(sample) for sample in self.samples)
        weights = np.full(count + len(self.class_tokens), self._rows / count, np.float32)
        weights[count:] = _CLASS_TOKEN_WEIGHT
        return Samples(rows=np.concatenate([*self.samples, *self.class_tokens]), weights=weights)
