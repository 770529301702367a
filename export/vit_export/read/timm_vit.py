"""timm's `VisionTransformer`: ViT, AugReg, DeiT, DeiT III, DINO, DINOv2, and the picture towers of CLIP and SigLIP.

Names and layer order are those of `timm/models/vision_transformer.py` and `timm/models/deit.py`.
"""

from __future__ import annotations

import re
from typing import Final

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.read.attention_heads import heads_of
from vit_export.read.canonical import block, mean_of_heads, named, scaled_rows
from vit_export.read.positions import POSITIONS, all_tokens
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_export.read.timm_config import BY_NAME, SUPPORTED, TimmConfig
from vit_export.read.timm_parts import pooling_of, sizes_of, take_attention_pooling, take_mlp, take_tokens
from vit_runtime.artifact import Activation, Architecture

_EPS: Final = 1e-6
_EPS_OF_CLIP: Final = 1e-5
"""LayerNorm's epsilon in timm's architectures of CLIP, which have a LayerNorm in front of the blocks."""
_HEADS_BY_WIDTH: Final = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
"""Number of heads by width, for So400m, ViT-H, ViT-g and ViT-G, whose heads are wider than 64."""
_HEADS_BY_NAME: Final = {"vit_base_patch16_gap_224": 16, "vit_giantopt_patch16_siglip": 16}
_TANH: Final = (
    "vit_base_patch32_siglip",
    "vit_giantopt_patch16_siglip",
    "vit_large_patch16_siglip_512",
    "vit_large_patch16_siglip_gap_512",
    "vit_so400m_patch16_siglip",
)
"""Architectures that timm makes with GELU's tanh form, by the start of their name."""
_OWN_NAMES: Final = (
    (r"\.gamma_([12])$", r".ls\1.gamma"),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
    (r"^register_tokens$", "reg_token"),
)
_QUICK: Final = "_quickgelu_"
"""Part of the names of architectures that timm makes with the quick form."""


def todays_names(state: StateDict) -> StateDict:
    """Renames weights of DINOv2's and DeiT III's own checkpoints as timm does."""
    renamed: StateDict = {}
    for name, tensor in state.items():
        if name != "mask_token":  # used in training only
            for pattern, replacement in _OWN_NAMES:
                name = re.sub(pattern, replacement, name)  # noqa: PLW2901 - rewriting the name is the purpose
            renamed[name] = tensor
    return renamed


def architecture(state: StateDict, facts: TimmConfig, heads: int | None, where: str) -> Architecture:
    """Reads sizes and kind off the weights; the configuration adds what leaves no trace in them.

    Raises:
        VitEdgeError: one of `vit_export.errors`: the weights are of no such model, or the number of heads is unknown.
    """
    sizes = sizes_of(state, where)
    if sizes.grid is None:
        raise CheckpointError(where, "has no pos_embed, and its name tells no other positions", BY_NAME)
    pooling, after = pooling_of(state, facts.global_pool, where)
    by_name = next((count for name, count in _HEADS_BY_NAME.items() if facts.architecture.startswith(name)), None)
    heads = heads_of(sizes.width, asked=heads or by_name, exceptions=_HEADS_BY_WIDTH)
    normalised = "norm_pre.weight" in state
    projects = normalised and projects_only(state)
    with refused_sizes(where, SUPPORTED):
        return Architecture(
            image_size=_image_size(sizes.grid, sizes.patch_size, facts.image_size),
            patch_size=sizes.patch_size,
            layers=sizes.layers,
            heads=heads,
            width=sizes.width,
            mlp_width=sizes.mlp_width,
            classes=0 if projects else sizes.head,
            layer_norm_eps=_EPS_OF_CLIP if normalised else _EPS,
            activation="silu" if sizes.gated_mlp else _gelu(facts.architecture),
            gated_mlp=sizes.gated_mlp,
            norm_before_blocks=normalised,
            class_token=sizes.class_token,
            distillation_token=sizes.distillation_token,
            registers=sizes.registers,
            pooling=pooling,
            norm_after_pooling=after,
            projection=sizes.head if projects else 0,
        )


def _image_size(grid: int, patch: int, stated: int | None) -> int:
    """Gives height and width: as stated, if as many patches fit in, and else what the patches fill.

    The last pixels may fill no patch, as with SigLIP's So400m for pictures of 384 in patches of 14.
    """
    return stated if stated is not None and stated // patch == grid else grid * patch


def projects_only(state: StateDict) -> bool:
    """Tells CLIP's projection to the joint space of pictures and texts from a classifier that was trained on top.

    timm calls both `head`. CLIP's has no bias, so timm fills it with zeros; no training leaves a bias at zeros.
    """
    return "head.weight" in state and ("head.bias" not in state or not bool(state["head.bias"].any()))


def _gelu(architecture: str) -> Activation:
    if _QUICK in architecture:
        return "quick"
    return "tanh" if architecture.startswith(_TANH) else "erf"


def canonical(state: StateDict, *, arch: Architecture, where: str) -> StateDict:
    """Gives the weights under the graph's names.

    Raises:
        CheckpointError: a weight is missing, has another shape, or is left over.
    """
    width, reader = arch.width, StateReader(state, where, "timm's Vision Transformer of its sizes")
    tokens = state["pos_embed"].shape[1]
    table = reader.take("pos_embed", 1, tokens, width)
    weights = take_tokens(reader, arch)
    if arch.norm_before_blocks:
        weights |= named("encoder.ln_pre", reader.take_pair("norm_pre", width))
    qkv_bias = reader.has("blocks.0.attn.qkv.bias")
    layer_scale = any(re.match(r"blocks\.\d+\.ls[12]\.", name) for name in state)
    for layer in range(arch.layers):
        weights |= _block(reader, layer, arch, qkv_bias=qkv_bias, layer_scale=layer_scale)
    weights |= named("encoder.ln", reader.take_pair("fc_norm" if arch.norm_after_pooling else "norm", width))
    if arch.pooling == "attention":
        weights |= take_attention_pooling(reader, arch)
    if arch.projection:
        pair = reader.take_pair("head", arch.projection, width, bias=reader.has("head.bias"))
        weights |= named("projection", pair)
    elif arch.classes:
        head = reader.take_pair("head", arch.classes, width)
        if arch.pooling == "class_and_distillation_token":
            head = mean_of_heads(head, reader.take_pair("head_dist", arch.classes, width))
        weights |= named("heads.head", head)
    reader.finish()
    weights[POSITIONS] = all_tokens(table, first=tokens - arch.grid**2, prefix=arch.prefix)
    return weights


def _block(reader: StateReader, layer: int, arch: Architecture, *, qkv_bias: bool, layer_scale: bool) -> StateDict:
    theirs, width = f"blocks.{layer}", arch.width
    output = reader.take_pair(f"{theirs}.attn.proj", width, width)
    gate, hidden, last = take_mlp(reader, f"{theirs}.mlp", arch)
    if layer_scale:
        output = scaled_rows(output, reader.take(f"{theirs}.ls1.gamma", width))
        last = scaled_rows(last, reader.take(f"{theirs}.ls2.gamma", width))
    packed = reader.take_pair(f"{theirs}.attn.qkv", 3 * width, width, bias=qkv_bias)
    before, after = (reader.take_pair(f"{theirs}.norm{number}", width) for number in (1, 2))
    return block(layer, norms=(before, after), qkv=packed, output=output, mlp=(hidden, last), gate=gate)
