"""Smooths a model's answers over frames, which may come at any times."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Probabilities
from vit_runtime.probabilities import logits_for, probabilities


class Smoother:
    """An exponential moving average of probabilities in continuous time.

    With p the probabilities of a frame and d the seconds since the frame before:

        s := s + (1 - exp(-d / seconds)) * (p - s);  s = p at the first frame

    So a change has taken effect by 63 % after `seconds`, however many frames came in that time, and after a pause of
    several times `seconds` what was before it is forgotten.
    """

    def __init__(self, seconds: float, kind: Probabilities = "softmax") -> None:
        self._seconds = seconds
        self._kind: Probabilities = kind
        self._average: npt.NDArray[np.float64] | None = None
        self._position = 0.0

    def smoothed(self, logits: FloatArray, position: float) -> FloatArray:
        """Takes in a frame's logits (classes,) at `position` seconds; gives logits whose probabilities are the average.

        Logits must be finite.
        """
        found = probabilities(logits, self._kind)
        if self._average is None:
            self._average = found
        else:
            share = -math.expm1(-max(position - self._position, 0.0) / self._seconds)
            self._average = self._average + share * (found - self._average)
        self._position = position
        return logits_for(self._average, self._kind)
