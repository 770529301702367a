"""Tables of rotary positions: the angles of patches, and their cosines and sines for every token.

The graph turns the pairs (i, i + K/2) of a head's numbers. Where a library turns neighbours (2 i, 2 i + 1) instead,
`paired_in_halves` reorders the rows of query and key: products of the two, which is all that attention takes of them,
stay the same.
"""

from __future__ import annotations

from typing import Final

import torch

from vit_export.names import block_name
from vit_export.read.canonical import Pair
from vit_export.read.state_dict import StateDict

_SHARED: Final = "encoder.rotary"


def axes_of_patches(places: torch.Tensor, *, column_first: bool = False) -> torch.Tensor:
    """Gives each patch's place along both axes of a square grid, row by row.

    Args:
        places: of patches along an axis, (G,).
        column_first: whether the column comes before the row.

    Returns:
        (G·G, 2, 1).
    """
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    axes = [columns, rows] if column_first else [rows, columns]
    return torch.stack(axes, dim=-1).flatten(0, 1)[..., None]


def shared_tables(angles: torch.Tensor, prefix: int) -> StateDict:
    """Gives the tables of all blocks from the patches' angles (G·G, K/2); tokens in front are not turned."""
    return _tables(_SHARED, angles, prefix)


def tables_by_head(layer: int, angles: torch.Tensor, prefix: int) -> StateDict:
    """Gives the tables of one block from the patches' angles (H, G·G, K/2); tokens in front are not turned."""
    return _tables(f"{block_name(layer)}.self_attention.rotary", angles, prefix)


def _tables(name: str, angles: torch.Tensor, prefix: int) -> StateDict:
    angles = torch.cat([angles.new_zeros(*angles.shape[:-2], prefix, angles.shape[-1]), angles], dim=-2)
    return {f"{name}.cos": angles.cos(), f"{name}.sin": angles.sin()}


def paired_in_halves(pair: Pair, heads: int) -> Pair:
    """Reorders the rows of a query or key layer, (D, D) and (D,): 0, 1, 2, 3 in each head of four to 0, 2, 1, 3."""

    def reordered(rows: torch.Tensor) -> torch.Tensor:
        return rows.reshape(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).flatten(0, 2)

    return reordered(pair[0]), reordered(pair[1])
