"""Attention rollout in PyTorch, as the paper writes it down; the graph's rollout is compared with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vit_runtime.artifact import Architecture, Rollout


def rollout(attention: Sequence[torch.Tensor], arch: Architecture, how: Rollout) -> torch.Tensor:
    """Rolls out attention weights (N, H, S, S), from the first layer to the last: float32 (N, G, G).

    This follows Abnar and Zuidema (2020), section 3: first the whole product A_L · … · A_1 in double precision, then
    the row of the class token, or the mean of the patches' rows if the answer is their mean.
    """
    product = torch.eye(arch.tokens, dtype=torch.float64)
    for weights in attention:
        product = _with_residual(weights.double(), how) @ product
    row = product[:, arch.prefix :].mean(dim=1) if arch.pooling == "patch_mean" else product[:, 0]
    return row[:, arch.prefix :].reshape(-1, arch.grid, arch.grid).float()


def _with_residual(weights: torch.Tensor, how: Rollout) -> torch.Tensor:
    """Fuses heads, drops the smallest weights of each row, adds the residual, and scales rows to add up to 1."""
    fused = {"mean": weights.mean(dim=1), "max": weights.amax(dim=1), "min": weights.amin(dim=1)}[how.head_fusion]
    discarded = int(how.discard_ratio * fused.shape[-1])
    smallest = fused.argsort(dim=-1)[..., :discarded]
    mixed = fused.scatter(-1, smallest, 0.0) + torch.eye(fused.shape[-1], dtype=fused.dtype)
    return mixed / mixed.sum(dim=-1, keepdim=True)
