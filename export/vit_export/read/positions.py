"""Gives position embeddings a row for every token, and fits them to other sizes of pictures."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final, Literal

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from torchvision.models.vision_transformer import interpolate_embeddings

from vit_export.read.state_dict import StateDict
from vit_runtime.artifact import Architecture

POSITIONS: Final = "encoder.pos_embedding"

Resizing = Literal["corners", "centres", "antialiased"]
"""How a position table is resized, always bicubic. "corners" takes a grid from corner to corner, as torchvision does.
"centres" takes the centres of the patches. "antialiased" does so with a filter that is widened for a smaller table."""


def all_tokens(table: torch.Tensor, *, first: int, prefix: int) -> torch.Tensor:
    """Gives a table a row for every token; rows are zeros where the family adds no position.

    Args:
        table: (1, first + G·G, D) as the checkpoint holds it.
        first: how many of the tokens in front of the patches the table has positions for.
        prefix: how many tokens there are in front of the patches; tokens without a position come last.

    Returns:
        (1, prefix + G·G, D).
    """
    none = table.new_zeros(1, prefix - first, table.shape[-1])
    return torch.cat([table[:, :first], none, table[:, first:]], dim=1)


def at_size(
    state: StateDict, arch: Architecture, image_size: int, resizing: Resizing
) -> tuple[StateDict, Architecture]:
    """Fits a model to pictures of another size, by interpolating its position embedding (1, S, D)."""
    resized = replace(arch, image_size=image_size)
    table = state[POSITIONS]
    if resizing == "corners":
        own = OrderedDict({POSITIONS: table})
        table = interpolate_embeddings(image_size, arch.patch_size, own)[POSITIONS]
    else:
        front, patches = table[:, : arch.prefix], table[:, arch.prefix :]
        square = patches.reshape(1, arch.grid, arch.grid, -1).permute(0, 3, 1, 2)
        size = (resized.grid, resized.grid)
        square = F.interpolate(
            square, size=size, mode="bicubic", align_corners=False, antialias=resizing == "antialiased"
        )
        table = torch.cat([front, square.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
    return state | {POSITIONS: table}, resized
