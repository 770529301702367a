"""Parts that timm's Vision Transformers share, whichever of its classes they are made of."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from vit_export.errors import CheckpointError
from vit_export.read.canonical import Pair, halves, named, stacked
from vit_export.read.families import SIGN
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_export.read.timm_config import SUPPORTED
from vit_runtime.artifact import Architecture, Pooling

_MLP: Final = "blocks.0.mlp"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the shapes of weights tell of a model; the fields are those of `Architecture`."""

    width: int
    patch_size: int
    layers: int
    mlp_width: int
    gated_mlp: bool
    class_token: bool
    distillation_token: bool
    registers: int
    head: int
    """Rows of the head; 0 without."""
    grid: int | None
    """Patches along a side, as the positions have it; None without a table of them."""


def sizes_of(state: StateDict, where: str) -> Sizes:
    """Reads sizes off the weights.

    Raises:
        CheckpointError: a weight is not there, or its shape is of no Vision Transformer.
    """

    def shape(name: str, axes: int) -> tuple[int, ...]:
        if name not in state:
            raise CheckpointError(where, f"is no Vision Transformer of timm's: it has no {name}", SUPPORTED)
        found = tuple(state[name].shape)
        if len(found) != axes or 0 in found:
            raise CheckpointError(where, f"{name} has shape {found}, where {axes} axes belong", SUPPORTED)
        return found

    width, channels, patch, _ = shape(SIGN["timm"], 4)
    if channels != 3:
        raise CheckpointError(where, f"reads pictures of {channels} channels", "only 3 are supported")
    layers = {int(match.group(1)) for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    if not layers or layers != set(range(len(layers))):
        raise CheckpointError(where, "has no complete row of blocks", "save the whole state dict again")
    apart = f"{_MLP}.fc1_g.weight" in state
    first = shape(f"{_MLP}.fc1_g.weight" if apart else f"{_MLP}.fc1.weight", 2)[0]
    mlp_width = shape(f"{_MLP}.fc2.weight", 2)[1]
    class_token, distillation_token = "cls_token" in state, "dist_token" in state
    registers = shape("reg_token", 3)[1] if "reg_token" in state else 0
    grid = None
    if "pos_embed" in state:
        tokens = shape("pos_embed", 3)[1]
        grid = math.isqrt(tokens - _positioned(tokens, class_token + distillation_token, registers, where))
    return Sizes(
        width=width,
        patch_size=patch,
        layers=len(layers),
        mlp_width=mlp_width,
        gated_mlp=apart or first == 2 * mlp_width,
        class_token=class_token,
        distillation_token=distillation_token,
        registers=registers,
        head=shape("head.weight", 2)[0] if "head.weight" in state else 0,
        grid=grid,
    )


def _positioned(tokens: int, known: int, registers: int, where: str) -> int:
    """Counts the tokens in front of the patches that have positions: the class token, all tokens, or none."""
    for first in (known, known + registers, 0):
        if tokens > first and math.isqrt(tokens - first) ** 2 == tokens - first:
            return first
    raise CheckpointError(where, f"its position embedding of {tokens} is of no square picture", SUPPORTED)


def pooling_of(state: StateDict, global_pool: str | None, where: str) -> tuple[Pooling, bool]:
    """Tells what the head reads, and whether the last LayerNorm comes after the mean.

    Args:
        state: the weights.
        global_pool: timm's name for it; None where nothing states it, then the weights tell.
        where: what to call the checkpoint in a message.

    Raises:
        CheckpointError: the pooling is not supported, or the weights are of another.
    """
    after, class_token = "fc_norm.weight" in state, "cls_token" in state
    probe = "attn_pool.latent" in state
    pool = global_pool or ("map" if probe else "avg" if after or not class_token else "token")
    if pool == "map" and probe and not class_token and not after and "reg_token" not in state:
        return "attention", False
    if pool == "avg" and not probe:
        return "patch_mean", after
    if pool != "token" or probe or not class_token or after:
        raise CheckpointError(
            where, f"global_pool {pool} is not supported with these weights", "only token, avg and map are"
        )
    distilled = "head_dist.weight" in state or ("dist_token" in state and "head.weight" in state)
    return ("class_and_distillation_token" if distilled else "class_token"), False


def take_tokens(reader: StateReader, arch: Architecture) -> StateDict:
    """Takes the patch projection, and the tokens in front of the patches."""
    width, patch = arch.width, arch.patch_size
    # timm leaves the bias out in front of a LayerNorm, which has one.
    bias = not arch.norm_before_blocks or reader.has("patch_embed.proj.bias")
    canonical = named("conv_proj", reader.take_pair("patch_embed.proj", width, 3, patch, patch, bias=bias))
    if arch.class_token:
        canonical["class_token"] = reader.take("cls_token", 1, 1, width)
    if arch.distillation_token:
        canonical["distillation_token"] = reader.take("dist_token", 1, 1, width)
    if arch.registers:
        canonical["register_tokens"] = reader.take("reg_token", 1, arch.registers, width)
    return canonical


def take_mlp(reader: StateReader, theirs: str, arch: Architecture) -> tuple[Pair | None, Pair, Pair]:
    """Takes the gate, if there is one, the hidden layer and the output of a block's MLP."""
    width, hidden = arch.width, arch.mlp_width
    last = reader.take_pair(f"{theirs}.fc2", width, hidden)
    if not arch.gated_mlp:
        return None, reader.take_pair(f"{theirs}.fc1", hidden, width), last
    if reader.has(f"{theirs}.fc1_g.weight"):
        gate, up = (reader.take_pair(f"{theirs}.fc1_{name}", hidden, width) for name in ("g", "x"))
    else:
        gate, up = halves(reader.take_pair(f"{theirs}.fc1", 2 * hidden, width))
    return gate, up, last


def take_attention_pooling(reader: StateReader, arch: Architecture) -> StateDict:
    """Takes the weights of `AttentionPoolLatent`: a probe, its attention, and an MLP."""
    width, theirs = arch.width, "attn_pool"
    query, keys_values = (
        reader.take_pair(f"{theirs}.q", width, width),
        reader.take_pair(f"{theirs}.kv", 2 * width, width),
    )
    attention = stacked(query, keys_values)
    return (
        {
            "pool.probe": reader.take(f"{theirs}.latent", 1, 1, width),
            "pool.self_attention.in_proj_weight": attention[0],
            "pool.self_attention.in_proj_bias": attention[1],
        }
        | named("pool.self_attention.out_proj", reader.take_pair(f"{theirs}.proj", width, width))
        | named("pool.ln", reader.take_pair(f"{theirs}.norm", width))
        | named("pool.mlp.0", reader.take_pair(f"{theirs}.mlp.fc1", arch.mlp_width, width))
        | named("pool.mlp.3", reader.take_pair(f"{theirs}.mlp.fc2", width, arch.mlp_width))
    )
