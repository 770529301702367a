"""From a checkpoint's own names to those that the graph reads, whatever the family.

The graph's names are torchvision's (`torchvision.models.VisionTransformer`), and where a model has more tokens
`distillation_token` (1, 1, D) and `register_tokens` (1, R, D). `encoder.pos_embedding` (1, S, D) has a row for every
token, of zeros where the family adds no position. What can be folded into weights is folded here and leaves no trace in
the graph: LayerScale, missing biases, a second head.
"""

from __future__ import annotations

import re

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from vit_export.errors import CheckpointError
from vit_export.read.state_dict import StateDict, described

Pair = tuple[torch.Tensor, torch.Tensor]
"""Weight and bias."""


def on_paper(state: StateDict) -> StateDict:
    """The same names and shapes without values.

    What a configuration claims is tried on these first: whatever does not fit is found before anything is allocated.
    """
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}


class StateReader:
    """Takes weights out of a checkpoint by name and shape, and remembers what does not fit."""

    def __init__(self, state: StateDict, where: object, model: str) -> None:
        self._left = dict(state)
        self._device = next(iter(state.values())).device if state else torch.device("cpu")
        self._where = where
        self._model = model
        self._missing: list[str] = []
        self._reshaped: list[str] = []

    def has(self, name: str) -> bool:
        """Whether a weight is there that nobody has taken yet."""
        return name in self._left

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """A weight in float32; zeros where it does not fit, which `finish` then reports."""
        tensor = self._left.pop(name, None)
        if tensor is not None and tuple(tensor.shape) == shape and tensor.is_floating_point():
            return tensor.float()
        if tensor is None:
            self._missing.append(name)
        else:
            self._reshaped.append(f"{name} is {described(tensor)} where {shape} belongs")
        return torch.zeros(1, device=self._device).expand(shape)

    def linear(self, name: str, outputs: int, inputs: int) -> Pair:
        """A linear layer's weight (outputs, inputs) and bias (outputs,)."""
        return self.take(f"{name}.weight", outputs, inputs), self.take(f"{name}.bias", outputs)

    def norm(self, name: str, width: int) -> Pair:
        """A LayerNorm's weight and bias (width,)."""
        return self.take(f"{name}.weight", width), self.take(f"{name}.bias", width)

    def drop(self, pattern: str) -> None:
        """Leaves out weights that no answer depends on."""
        self._left = {name: tensor for name, tensor in self._left.items() if not re.fullmatch(pattern, name)}

    def finish(self) -> None:
        """Sees to it that everything was there and nothing is left.

        Raises:
            CheckpointError: something was missing, of another shape, or is left over.
        """
        if self._missing or self._reshaped or self._left:
            raise CheckpointError.mismatch(
                self._where, self._model, missing=self._missing, unexpected=self._left, reshaped=self._reshaped
            )


def scaled_rows(weight: torch.Tensor, bias: torch.Tensor, scale: torch.Tensor) -> Pair:
    """LayerScale (Touvron et al. 2021, "Going deeper with Image Transformers") folded into the layer in front of it.

    diag(scale) (W x + b) = (diag(scale) W) x + diag(scale) b.
    """
    return weight * scale[:, None], bias * scale


def mean_of_heads(first: Pair, second: Pair) -> Pair:
    """The average of two linear heads on two tokens as one head (C, 2·D) on both: DeiT's, when it is not trained."""
    return torch.cat([first[0], second[0]], dim=1) / 2, (first[1] + second[1]) / 2


def positions(table: torch.Tensor, *, first: int, prefix: int, grid: int, antialias: bool) -> torch.Tensor:
    """The position embedding of all tokens, interpolated where the picture has another size.

    Args:
        table: (1, first + G·G, D) as the checkpoint holds it.
        first: how many of the tokens in front of the patches it has positions for.
        prefix: how many tokens there are in front of the patches; those it has none for come last.
        grid: patches along one side of the picture.
        antialias: whether the family's library widens the bicubic filter where it makes the table smaller.

    Returns:
        float32 (1, prefix + grid·grid, D).
    """
    front, patches = table[:, :first], table[:, first:]
    old = round(patches.shape[1] ** 0.5)
    if old != grid:
        square = patches.reshape(1, old, old, -1).permute(0, 3, 1, 2)
        square = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False, antialias=antialias)
        patches = square.permute(0, 2, 3, 1).flatten(1, 2)
    none = table.new_zeros(1, prefix - first, table.shape[-1])
    return torch.cat([front, none, patches], dim=1)
