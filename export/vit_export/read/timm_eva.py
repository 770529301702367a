"""timm's `Eva`: DINOv3, RoPE-ViT, EVA and EVA-02, most of them with rotary positions.

Names and layer order are those of `timm/models/eva.py`; angles are those of `timm/layers/pos_embed_sincos.py`, in the
same order of operations. Weights by themselves tell neither that a model is one of these nor what its angles are, so
its architecture has to be known by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import torch

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.read.attention_heads import heads_of
from vit_export.read.canonical import Pair, block, named, scaled_rows, stacked
from vit_export.read.positions import POSITIONS, all_tokens
from vit_export.read.rotary import axes_of_patches, paired_in_halves, shared_tables, tables_by_head
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_export.read.timm_config import SUPPORTED, TimmConfig
from vit_export.read.timm_parts import pooling_of, sizes_of, take_mlp, take_tokens
from vit_runtime.artifact import Architecture, Rotary

_HEADS_BY_WIDTH: Final = {1408: 16, 4096: 32}
"""Number of heads by width, for EVA giant and DINOv3 7B, whose heads are wider than 64."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What leaves no trace in the weights of an architecture."""

    angles: Literal["none", "places", "scaled places", "centres", "learned"]
    """What the angles of patches are made of: their places in the grid, these scaled to a grid of 16 patches a side,
    their centres between -1 and 1, or places times learned numbers of each head."""
    temperature: float = 10_000.0
    column_first: bool = False
    """Whether the first half of a head's pairs tells columns, not rows."""
    halves: bool = False
    """Whether a head's pairs are (i, i + K/2), as in our graph; neighbours otherwise."""
    layer_norm_eps: float = 1e-6
    global_pool: str = "avg"
    image_size: int = 224
    """Height and width of pictures, where neither a configuration nor a table of positions states them."""
    joint_space: bool = False
    """Whether the head is a projection to a space of pictures and texts, not a classifier."""


_DINOV3: Final = Traits(
    angles="centres", temperature=100.0, halves=True, layer_norm_eps=1e-5, global_pool="avg", image_size=256
)
_ROPE_VIT: Final = Traits(angles="places", temperature=100.0, column_first=True, global_pool="token")
_ARCHITECTURES: Final[Mapping[str, Traits]] = {
    r"vit_\w+_patch16_dinov3(_qkvb)?": _DINOV3,
    r"vit_\w+_patch16_lingbot": replace(_DINOV3, global_pool="token"),
    r"vit_\w+_patch16_rope_(ape_)?224": _ROPE_VIT,
    r"vit_\w+_patch16_rope_mixed_(ape_)?224": replace(_ROPE_VIT, angles="learned"),
    r"vit_\w+_patch16_rope_reg\d_gap_256": Traits(angles="scaled places", image_size=256),
    r"eva_giant_patch14_\d+": Traits(angles="none"),
    r"eva_giant_patch14_clip_224": Traits(angles="none", global_pool="token", joint_space=True),
    r"eva02_\w+_patch14_\d+": Traits(angles="scaled places"),
}
_INNER_NORM: Final = re.compile(r"blocks\.\d+\.(mlp|attn)\.norm\..*")
_SMALLER: Final = "EVA-02 tiny and small have none"
_REFERENCE: Final = 16
"""Patches along a side of the grid that EVA-02 was trained with first."""


def traits_of(architecture: str) -> Traits | None:
    """Gives the traits of a timm architecture by its name; None if it is none of `Eva`'s that are supported."""
    return next((traits for name, traits in _ARCHITECTURES.items() if re.fullmatch(name, architecture)), None)


def todays_names(state: StateDict) -> StateDict:
    """Renames weights of EVA-02's training on masked pictures as timm does, and leaves out what only that needs."""
    if "mask_token" not in state:
        return state
    renamed = {
        name: tensor for name, tensor in state.items() if name != "mask_token" and not name.startswith("lm_head.")
    }
    if "fc_norm.weight" not in renamed and "norm.weight" in renamed:
        renamed |= {f"fc_norm.{part}": renamed.pop(f"norm.{part}") for part in ("weight", "bias")}
    return renamed


def architecture(state: StateDict, traits: Traits, facts: TimmConfig, heads: int | None, where: str) -> Architecture:
    """Reads sizes off the weights; `traits` and the configuration add what leaves no trace in them.

    Raises:
        VitEdgeError: one of `vit_export.errors`: the weights are of no such model, or the number of heads is unknown.
    """
    if inner := [name for name in state if _INNER_NORM.fullmatch(name)]:
        raise CheckpointError(where, f"has a LayerNorm inside its MLP, which is not supported ({inner[0]})", _SMALLER)
    sizes = sizes_of(state, where)
    pooling, after = pooling_of(state, facts.global_pool or traits.global_pool, where)
    stated = facts.image_size or traits.image_size
    rotary: Rotary = "shared"
    if traits.angles in ("none", "learned"):
        rotary = "none" if traits.angles == "none" else "by_head"
    projects = traits.joint_space and facts.labels is None
    with refused_sizes(where, SUPPORTED):
        return Architecture(
            image_size=stated if sizes.grid is None else sizes.grid * sizes.patch_size,
            patch_size=sizes.patch_size,
            layers=sizes.layers,
            heads=heads_of(sizes.width, asked=heads, exceptions=_HEADS_BY_WIDTH),
            width=sizes.width,
            mlp_width=sizes.mlp_width,
            classes=0 if projects else sizes.head,
            layer_norm_eps=traits.layer_norm_eps,
            activation="silu" if sizes.gated_mlp else "erf",
            gated_mlp=sizes.gated_mlp,
            rotary=rotary,
            class_token=sizes.class_token,
            registers=sizes.registers,
            pooling=pooling,
            norm_after_pooling=after,
            projection=sizes.head if projects else 0,
        )


def canonical(state: StateDict, *, traits: Traits, arch: Architecture, where: str) -> StateDict:
    """Gives the weights under the graph's names.

    Raises:
        CheckpointError: a weight is missing, has another shape, or is left over.
    """
    width, reader = arch.width, StateReader(state, where, "timm's Vision Transformer of its name and sizes")
    weights = take_tokens(reader, arch)
    if arch.rotary == "by_head":
        take_frequencies(reader, arch)
    for layer in range(arch.layers):
        weights |= _block(reader, layer, arch, reorder=arch.rotary != "none" and not traits.halves)
    weights |= named("encoder.ln", reader.take_pair("fc_norm" if arch.norm_after_pooling else "norm", width))
    if arch.projection:
        weights |= named("projection", reader.take_pair("head", arch.projection, width))
    elif arch.classes:
        weights |= named("heads.head", reader.take_pair("head", arch.classes, width))
    if "pos_embed" in state:
        tokens = state["pos_embed"].shape[1]
        table = reader.take("pos_embed", 1, tokens, width)
        weights[POSITIONS] = all_tokens(table, first=tokens - arch.grid**2, prefix=arch.prefix)
    else:
        weights[POSITIONS] = torch.zeros(1, arch.tokens, width)
    reader.finish()
    return weights


def take_frequencies(reader: StateReader, arch: Architecture) -> torch.Tensor:
    """Takes learned angles per patch along both axes: (2, L, H, K/2)."""
    return reader.take("rope.freqs", 2, arch.layers, arch.heads, arch.width // arch.heads // 2)


def _block(reader: StateReader, layer: int, arch: Architecture, *, reorder: bool) -> StateDict:
    theirs, width = f"blocks.{layer}", arch.width
    query, key, value = _query_key_value(reader, f"{theirs}.attn", width)
    if reorder:
        query, key = paired_in_halves(query, arch.heads), paired_in_halves(key, arch.heads)
    output = reader.take_pair(f"{theirs}.attn.proj", width, width)
    gate, hidden, last = take_mlp(reader, f"{theirs}.mlp", arch)
    if reader.has(f"{theirs}.gamma_1"):
        output = scaled_rows(output, reader.take(f"{theirs}.gamma_1", width))
        last = scaled_rows(last, reader.take(f"{theirs}.gamma_2", width))
    before, after = (reader.take_pair(f"{theirs}.norm{number}", width) for number in (1, 2))
    packed = stacked(query, key, value)
    return block(layer, norms=(before, after), qkv=packed, output=output, mlp=(hidden, last), gate=gate)


def _query_key_value(reader: StateReader, theirs: str, width: int) -> tuple[Pair, Pair, Pair]:
    """Takes the three layers (D, D) of attention, packed or apart; `EvaAttention`'s keys have no bias."""
    if reader.has(f"{theirs}.q_proj.weight"):
        query, key, value = (
            reader.take_pair(f"{theirs}.{name}_proj", width, width, bias=reader.has(f"{theirs}.{name}_proj.bias"))
            for name in "qkv"
        )
        return query, key, value
    weight, bias = reader.take_pair(f"{theirs}.qkv", 3 * width, width, bias=reader.has(f"{theirs}.qkv.bias"))
    if reader.has(f"{theirs}.q_bias"):
        first, last = (reader.take(f"{theirs}.{name}_bias", width) for name in "qv")
        bias = torch.cat([first, torch.zeros_like(first), last])
    query, key, value = zip(weight.chunk(3), bias.chunk(3), strict=True)
    return query, key, value


def tables(grid: int, *, traits: Traits, arch: Architecture, state: StateDict) -> StateDict:
    """Gives the tables of rotary positions for a grid of so many patches along each side.

    Args:
        grid: patches along each side.
        traits: what angles are made of.
        arch: sizes.
        state: timm's weights, of which some architectures have learned angles.
    """
    if traits.angles == "learned":
        reader = StateReader({"rope.freqs": state["rope.freqs"]}, "", "")
        frequencies = take_frequencies(reader, arch)
        places = axes_of_patches(torch.arange(grid).float(), column_first=traits.column_first)[..., 0]  # (G·G, 2)
        angles = [places[:, axis, None] * frequencies[axis, :, :, None] for axis in (0, 1)]
        merged = angles[0] + angles[1]  # (L, H, G·G, K/2)
        found: StateDict = {}
        for layer in range(arch.layers):
            found |= tables_by_head(layer, merged[layer], arch.prefix)
        return found
    return shared_tables(_angles(grid, arch.width // arch.heads // 4, traits), arch.prefix)


def _angles(grid: int, bands: int, traits: Traits) -> torch.Tensor:
    """Gives the angles of patches (G·G, K/2), with K/4 bands of frequencies for each axis."""
    if traits.angles == "centres":
        centres = torch.arange(0.5, grid, dtype=torch.float32) / grid
        periods = traits.temperature ** (2.0 * torch.arange(bands, dtype=torch.float32) / (2 * bands))
        return (2 * math.pi * axes_of_patches(2.0 * centres - 1.0) / periods).flatten(1)
    places = torch.arange(grid).float()
    if traits.angles == "scaled places":
        places = places / grid * _REFERENCE
    frequencies = 1.0 / (traits.temperature ** (torch.arange(bands).float() / bands))
    return (axes_of_patches(places, column_first=traits.column_first) * frequencies).flatten(1)
