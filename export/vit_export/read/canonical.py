"""Turns a checkpoint's own names into those that the graph reads, whatever the family.

The graph's names are torchvision's (`torchvision.models.VisionTransformer`). Models with more tokens also have
`distillation_token` (1, 1, D) or `register_tokens` (1, R, D). `encoder.pos_embedding` (1, S, D) has a row for every
token; where the family adds no position, the row is zeros. LayerScale, missing biases and a second head are folded into
the weights here, and leave no trace in the graph. torchvision has no names for the rest (`BLOCK` is a block's prefix):

- `encoder.ln_pre.weight` and `.bias`, a LayerNorm in front of the blocks;
- `BLOCK.mlp.gate.weight` and `.bias`, (M, D): the gate of a gated MLP, whose other projection is `mlp.0`;
- `encoder.rotary.cos` and `.sin`, (S, K/2), or `BLOCK.self_attention.rotary.cos` and `.sin`, (H, S, K/2): rotary
  positions, which turn the pairs (i, i + K/2) of a head's numbers, by no angle for tokens in front of the patches;
- `pool.probe` (1, 1, D), `pool.self_attention.*`, `pool.ln.*`, `pool.mlp.0.*`, `pool.mlp.3.*`: attention pooling;
- `projection.weight` and `.bias`, (E, D): from the pooled token to the embedding.
"""

from __future__ import annotations

from typing import TypeAlias

import torch

from vit_export.names import block_name
from vit_export.read.state_dict import StateDict

Pair: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Weight and bias."""


def on_paper(state: StateDict) -> StateDict:
    """Copies the names and shapes of weights, without their values.

    A configuration's claims are tried on this copy first: what does not fit is found before memory is taken.
    """
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}


def block(
    layer: int,
    *,
    norms: tuple[Pair, Pair],
    qkv: Pair,
    output: Pair,
    mlp: tuple[Pair, Pair],
    gate: Pair | None = None,
) -> StateDict:
    """Gives the weights of one encoder block under the graph's names.

    Args:
        layer: its number, from 0.
        norms: the LayerNorms in front of attention and of the MLP, (D,) each.
        qkv: query, key and value packed, (3·D, D) and (3·D,).
        output: attention's output projection (D, D).
        mlp: hidden layer (M, D) and output (D, M).
        gate: the hidden layer's gate (M, D), where there is one.
    """
    name = block_name(layer)
    pairs = {
        "ln_1": norms[0],
        "self_attention.out_proj": output,
        "ln_2": norms[1],
        "mlp.0": mlp[0],
        "mlp.3": mlp[1],
    }
    if gate is not None:
        pairs["mlp.gate"] = gate
    weights = {f"{name}.self_attention.in_proj_weight": qkv[0], f"{name}.self_attention.in_proj_bias": qkv[1]}
    for part, pair in pairs.items():
        weights |= named(f"{name}.{part}", pair)
    return weights


def named(name: str, pair: Pair) -> StateDict:
    """A layer's weight and bias under its name."""
    return {f"{name}.weight": pair[0], f"{name}.bias": pair[1]}


def stacked(*pairs: Pair) -> Pair:
    """Packs linear layers that read the same tokens into one, in this order: query, key and value."""
    return torch.cat([weight for weight, _ in pairs]), torch.cat([bias for _, bias in pairs])


def halves(pair: Pair) -> tuple[Pair, Pair]:
    """Takes two linear layers that are packed into one apart."""
    (first, second), biases = pair[0].chunk(2), pair[1].chunk(2)
    return (first, biases[0]), (second, biases[1])


def scaled_rows(pair: Pair, scale: torch.Tensor) -> Pair:
    """Folds LayerScale (Touvron et al. 2021, "Going deeper with Image Transformers") into the layer in front of it.

    diag(scale) (W x + b) = (diag(scale) W) x + diag(scale) b.
    """
    weight, bias = pair
    return weight * scale[:, None], bias * scale


def mean_of_heads(first: Pair, second: Pair) -> Pair:
    """Makes one head (C, 2·D) that averages two linear heads on two tokens, as DeiT does outside of training."""
    return torch.cat([first[0], second[0]], dim=1) / 2, (first[1] + second[1]) / 2
