"""Attention rollout in PyTorch, as the paper writes it down; the graph's rollout is compared with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vit_runtime.artifact import Architecture, Rollout


def rollout(
    attention: Sequence[torch.Tensor], arch: Architecture, how: Rollout, pooling: torch.Tensor | None = None
) -> torch.Tensor:
    """Rolls out attention weights (N, H, S, S), from the first layer to the last: float32 (N, G, G).

    This follows Abnar and Zuidema (2020), section 3: first the whole product A_L · … · A_1 in double precision, then
    the row of the class token, or the mean of the patches' rows if the answer is their mean. Where a probe gathers the
    answer from all tokens, `pooling` is its attention (N, H, 1, S), and the rows are mixed as it does.
    """
    product = torch.eye(arch.tokens, dtype=torch.float64)
    for weights in attention:
        product = _with_residual(weights.double(), how) @ product
    if pooling is not None:
        shares = _kept(pooling.double(), how)
        row = (shares / shares.sum(dim=-1, keepdim=True) @ product)[:, 0]
    elif arch.pooling == "patch_mean":
        row = product[:, arch.prefix :].mean(dim=1)
    else:
        row = product[:, 0]
    return row[:, arch.prefix :].reshape(-1, arch.grid, arch.grid).float()


def _with_residual(weights: torch.Tensor, how: Rollout) -> torch.Tensor:
    """Adds the residual to what `_kept` gives, and scales rows to add up to 1."""
    fused = _kept(weights, how)
    mixed = fused + torch.eye(fused.shape[-1], dtype=fused.dtype)
    return mixed / mixed.sum(dim=-1, keepdim=True)


def _kept(weights: torch.Tensor, how: Rollout) -> torch.Tensor:
    """Fuses heads and drops the smallest weights of each row: (N, H, rows, S) to (N, rows, S)."""
    fused = {"mean": weights.mean(dim=1), "max": weights.amax(dim=1), "min": weights.amin(dim=1)}[how.head_fusion]
    discarded = int(how.discard_ratio * fused.shape[-1])
    smallest = fused.argsort(dim=-1)[..., :discarded]
    return fused.scatter(-1, smallest, 0.0)
