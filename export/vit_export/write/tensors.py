"""PyTorch tensors as the arrays that go into a graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from vit_export.errors import CheckpointError
from vit_runtime.arrays import FloatArray


class Weights:
    """The tensors of a Vision Transformer under torchvision's parameter names, handed out one at a time."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], where: object) -> None:
        self._tensors = tensors
        self._where = where

    def __call__(self, name: str) -> FloatArray:
        """One tensor as float32, of the checkpoint's own memory where its dtype allows.

        Raises:
            CheckpointError: the tensor holds NaN or infinite values.
        """
        array: FloatArray = self._tensors[name].detach().to(torch.float32).numpy()
        if not np.isfinite(array).all():
            raise CheckpointError(self._where, f"{name} holds NaN or infinite values", "train or save it again")
        return array
