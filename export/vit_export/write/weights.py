"""Weights by name, each as an array when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import torch

from vit_export.errors import CheckpointError
from vit_runtime.arrays import FloatArray

WeightSource: TypeAlias = Callable[[str], FloatArray]
"""Gives a float32 tensor by its name in torchvision's state dict."""


def finite_weights(tensors: Mapping[str, torch.Tensor], where: object) -> WeightSource:
    """The tensors of a checkpoint as float32 arrays, of its own memory where its dtype allows.

    The source raises `CheckpointError` for a tensor that holds NaN or infinite values; `where` is what to call the
    checkpoint then.
    """

    def weight(name: str) -> FloatArray:
        array: FloatArray = tensors[name].detach().to(torch.float32).numpy()
        if not np.isfinite(array).all():
            raise CheckpointError(where, f"{name} holds NaN or infinite values", "train or save it again")
        return array

    return weight
