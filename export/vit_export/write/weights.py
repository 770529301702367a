"""Gives weights by name; each becomes an array when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from vit_export.errors import CheckpointError
from vit_runtime.arrays import FloatArray

if TYPE_CHECKING:
    import torch

WeightSource: TypeAlias = Callable[[str], FloatArray]
"""Gives a float32 tensor by its name in torchvision's state dict."""


def finite_weights(tensors: Mapping[str, torch.Tensor], where: object) -> WeightSource:
    """Gives a checkpoint's tensors as float32 arrays, which share its memory where the dtype allows.

    The source raises `CheckpointError` for a tensor that holds NaN or infinite values; `where` is the message's
    name for the checkpoint.
    """

    def weight(name: str) -> FloatArray:
        array: FloatArray = tensors[name].detach().float().numpy()
        if not np.isfinite(array).all():
            raise CheckpointError(where, f"{name} holds NaN or infinite values", "train or save it again")
        return array

    return weight
