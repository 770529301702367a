"""Smooths a model's answers over frames, which may come at any times."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vit_runtime.arrays import FloatArray


class Smoother:
    """An exponential moving average of probabilities in continuous time.

    With p the softmax of a frame's logits and d the seconds since the frame before:

        s := s + (1 - exp(-d / seconds)) * (p - s);  s = p at the first frame

    So a change has taken effect by 63 % after `seconds`, however many frames came in that time, and after a pause of
    several times `seconds` what was before it is forgotten.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._average: npt.NDArray[np.float64] | None = None
        self._position = 0.0

    def smoothed(self, logits: FloatArray, position: float) -> FloatArray:
        """Takes in a frame's logits (classes,) at `position` seconds; gives logits whose softmax is the average."""
        shifted = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = shifted / shifted.sum()
        if self._average is None:
            self._average = probabilities
        else:
            share = -math.expm1(-max(position - self._position, 0.0) / self._seconds)
            self._average = self._average + share * (probabilities - self._average)
        self._position = position
        # The smallest number there is stands for 0, whose logarithm is no number.
        logarithms: FloatArray = np.log(np.maximum(self._average, np.finfo(np.float64).tiny)).astype(np.float32)
        return logarithms
