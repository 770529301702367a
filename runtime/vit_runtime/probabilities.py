"""From logits to probabilities and back, as an artifact's head means them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Description, Probabilities

_TINY: Final = np.finfo(np.float64).tiny
"""The smallest number there is stands for 0, whose logarithm is no number."""


def kind_of(description: Description) -> Probabilities:
    """Whether a model's probabilities are shares of one, or each class's own."""
    return "softmax" if description.head is None else description.head.probabilities


def probabilities(logits: FloatArray | npt.NDArray[np.float64], kind: Probabilities) -> npt.NDArray[np.float64]:
    """Probabilities of finite logits (..., classes), of the same shape in float64.

    With "softmax" a row adds up to 1. With "sigmoid" each number is 1 / (1 + exp(-logit)), whatever the others are.
    """
    exact = logits.astype(np.float64)
    if kind == "sigmoid":
        # Of the two forms of the formula, the one whose exponential stays below 1 and so never overflows.
        small = np.exp(-np.abs(exact))
        return np.asarray(np.where(exact < 0, small, 1) / (1 + small), np.float64)
    shifted = np.exp(exact - exact.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float64)


def logits_for(shares: npt.NDArray[np.float64], kind: Probabilities) -> FloatArray:
    """Logits float32 that `probabilities` turns into these, up to rounding."""
    logarithms = np.log(np.maximum(shares, _TINY))
    if kind == "sigmoid":
        logarithms -= np.log(np.maximum(1 - shares, _TINY))
    return np.asarray(logarithms, np.float32)
