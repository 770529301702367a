"""Takes weights out of a checkpoint by name and shape, and refuses a checkpoint with any weight left over."""

from __future__ import annotations

import re

import torch

from vit_export.errors import CheckpointError
from vit_export.read.canonical import Pair
from vit_export.read.state_dict import StateDict, described


class StateReader:
    """Hands out each weight once, and remembers what does not fit."""

    def __init__(self, state: StateDict, where: object, model: str) -> None:
        self._left = dict(state)
        self._device = next(iter(state.values())).device if state else torch.device("cpu")
        self._where = where
        self._model = model
        self._missing: list[str] = []
        self._reshaped: list[str] = []

    def has(self, name: str) -> bool:
        """Whether a weight is there and has not been taken yet."""
        return name in self._left

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """Takes a weight in float32; gives zeros if it is missing or does not fit, which `finish` then reports."""
        tensor = self._left.pop(name, None)
        if tensor is not None and tuple(tensor.shape) == shape and tensor.is_floating_point():
            return tensor.float()
        if tensor is None:
            self._missing.append(name)
        else:
            self._reshaped.append(f"{name} is {described(tensor)} where {shape} belongs")
        return torch.zeros(1, device=self._device).expand(shape)

    def take_pair(self, name: str, *shape: int, bias: bool = True) -> Pair:
        """Takes the weight of a linear layer (out, in) or a LayerNorm (width,), and its bias: zeros if it has none."""
        weight = self.take(f"{name}.weight", *shape)
        return weight, self.take(f"{name}.bias", shape[0]) if bias else torch.zeros(shape[0], device=self._device)

    def drop(self, pattern: str) -> None:
        """Leaves out weights that no answer depends on, by a pattern of their whole names."""
        self._left = {name: tensor for name, tensor in self._left.items() if not re.fullmatch(pattern, name)}

    def finish(self) -> None:
        """Checks that every weight was there and that none is left.

        Raises:
            CheckpointError: a weight was missing, had another shape, or is left over.
        """
        if self._missing or self._reshaped or self._left:
            raise CheckpointError.mismatch(
                self._where, self._model, missing=self._missing, unexpected=self._left, reshaped=self._reshaped
            )
