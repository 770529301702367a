"""timm's Vision Transformers: ViT, AugReg, DeiT, DeiT III, DINO, DINOv2, with class token or averaged patches.

They are read without timm, from a file of weights with timm's names, or from a folder or hub repository with timm's
`config.json`. Names and layer order are those of `timm/models/vision_transformer.py` and `timm/models/deit.py`; DINO's
and DINOv2's own checkpoints use them too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.progress import Progress
from vit_export.read import assumed
from vit_export.read.attention_heads import heads_of
from vit_export.read.canonical import block, mean_of_heads, named, on_paper, scaled_rows
from vit_export.read.checkpoint import Checkpoint, Contents
from vit_export.read.families import SIGN
from vit_export.read.picture_preparation import Preparation, Preset
from vit_export.read.positions import POSITIONS, all_tokens
from vit_export.read.repository import CONFIG, Repository, folder_of, licence, read_weights
from vit_export.read.state_dict import StateDict, sha256
from vit_export.read.state_reader import StateReader
from vit_export.read.timm_config import ARCHITECTURE, SUPPORTED, TimmConfig, read_config, refuse_others
from vit_runtime.artifact import Architecture, Pooling, Source

_EPS: Final = 1e-6
"""LayerNorm's epsilon in timm, for every Vision Transformer that is supported here."""
_HEADS_BY_WIDTH: Final = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
"""Number of heads by width, for So400m, ViT-H, ViT-g and ViT-G, whose heads are wider than 64."""
_HEADS_BY_NAME: Final = {"vit_base_patch16_gap_224": 16, "vit_giantopt_patch16_siglip_gap": 16}
_HEADS_RULE: Final = "width / 64, or as timm's model of that width has them"
_PRESET: Final = "timm's usual preparation"
_TANH: Final = (
    "vit_base_patch32_siglip_gap_256",
    "vit_giantopt_patch16_siglip_gap",
    "vit_large_patch16_siglip_gap_512",
    "vit_so400m_patch16_siglip_gap",
)
"""Architectures that timm makes with GELU's tanh form, by the start of their name."""
_FOREIGN: Final = (
    (r"norm_pre\.", "a LayerNorm in front of the encoder (CLIP)"),
    (r"attn_pool\.", "attention pooling (SigLIP)"),
    (r"patch_embed\.(backbone|conv)", "a convolutional stem"),
    (r"blocks\.\d+\.attn\.(q_norm|k_norm)\.", "normalised queries and keys"),
    (r"blocks\.\d+\.attn\.(q_bias|rel_pos|relative_position)", "other position embeddings or biases"),
    (r"rope", "rotary positions"),
    (r"blocks\.\d+\.mlp\.(fc1_g|w12|w3)\.", "a gated MLP (SwiGLU)"),
    (r"blocks\.\d+\.(attns|ffns)\.", "parallel layers"),
    (r"(stages|layers)\.\d+\.", "stages"),
)


def read_file(path: Path, state: StateDict, *, heads: int | None = None) -> Checkpoint:
    """Reads a file of weights by itself; what it does not say is guessed as in timm, and listed as an assumption.

    Args:
        path: where the state dict was read from.
        state: what `read_state_dict` gave.
        heads: attention heads; None is the usual number.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for what is not supported.
    """
    # A file often has its architecture's name, which tells what the weights do not.
    architecture = path.stem.partition(".")[0]
    known = ARCHITECTURE.fullmatch(architecture) is not None
    if known:
        refuse_others(architecture, str(path))
    facts = TimmConfig(architecture=architecture if known else "")
    state, arch = _described(state, facts, heads, str(path))
    why = f"the file is called as timm's {architecture}" if known else "the usual kind"
    unstated = Preset(name=_PRESET, why="a checkpoint does not say how pictures were prepared")

    def read() -> Contents:
        source = Source(family="timm", weights=path.name, sha256=sha256(path), licence=None, seed=None)
        return Contents(source=source, files=path, state=_canonical(state, arch, str(path)))

    return Checkpoint(
        name=path.stem,
        where=str(path),
        architecture=arch,
        preparation=_preparation(facts, arch.image_size, unstated),
        assumptions=(
            assumed.heads(arch.heads, asked=heads is not None, rule=why if known else _HEADS_RULE),
            assumed.activation(arch.activation, why),
        ),
        labels=None,
        resizing="antialiased",
        read=read,
    )


def read_repository(
    repository: Repository, config: Mapping[str, Any], progress: Progress, *, heads: int | None = None
) -> Checkpoint:
    """Reads a model as its files describe it; `heads` overrules timm's number for such an architecture.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    facts = read_config(config, f"{repository.where}/{CONFIG}")
    state, digest = read_weights(repository, progress)
    state, arch = _described(state, facts, heads, repository.where)
    unstated = Preset(name=_PRESET, why=f"{CONFIG} does not say how pictures were prepared")

    def read() -> Contents:
        terms = facts.licence or licence(repository)
        source = Source(family="timm", weights=repository.source, sha256=digest, licence=terms, seed=None)
        return Contents(source=source, files=folder_of(repository), state=_canonical(state, arch, repository.where))

    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=_preparation(facts, arch.image_size, unstated),
        assumptions=() if heads is None else (assumed.heads(heads, asked=True, rule=""),),
        labels=facts.labels if facts.labels and len(facts.labels) == arch.classes else None,
        usually_labelled=True,
        resizing="antialiased",
        read=read,
    )


def _described(state: StateDict, facts: TimmConfig, heads: int | None, where: str) -> tuple[StateDict, Architecture]:
    """Gives the weights under timm's current names, and the architecture that weights and configuration describe."""
    state = _todays_names(state)
    _refuse_foreign(state, where)
    arch = _architecture(state, facts, heads, where)
    _canonical(on_paper(state), arch, where)
    return state, arch


def _preparation(facts: TimmConfig, image_size: int, unstated: Preset) -> Preparation:
    """Gives the preparation that the configuration states, or else timm's usual one at the weights' own size."""
    return Preparation(
        image_size=facts.image_size or image_size,
        stated_in=CONFIG,
        at=facts.preprocessing,
        preset=unstated if facts.image_size is None else None,
    )


def _todays_names(state: StateDict) -> StateDict:
    """Renames weights of DINOv2's and DeiT III's own checkpoints as timm does."""
    renamed = {
        re.sub(r"\.gamma_([12])$", r".ls\1.gamma", name): tensor
        for name, tensor in state.items()
        if name != "mask_token"  # used in training only
    }
    if "register_tokens" in renamed:
        renamed["reg_token"] = renamed.pop("register_tokens")
    return renamed


def _refuse_foreign(state: StateDict, where: str) -> None:
    for pattern, what in _FOREIGN:
        for name in state:
            if re.match(pattern, name):
                raise CheckpointError(where, f"has {what}, which is not supported ({name})", SUPPORTED)


def _architecture(state: StateDict, facts: TimmConfig, heads: int | None, where: str) -> Architecture:
    """Reads sizes and kind off the weights; the configuration adds what leaves no trace in them."""

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
    mlp_width = shape("blocks.0.mlp.fc1.weight", 2)[0]
    if shape("blocks.0.mlp.fc2.weight", 2)[1] * 2 == mlp_width:
        raise CheckpointError(where, "has a gated MLP (SwiGLU), which is not supported", SUPPORTED)
    class_token, distillation_token = "cls_token" in state, "dist_token" in state
    registers = shape("reg_token", 3)[1] if "reg_token" in state else 0
    tokens = shape("pos_embed", 3)[1]
    first = _positioned(tokens, class_token + distillation_token, registers, where)
    pooling, after = _pooling(state, facts.global_pool, where)
    by_name = next((count for name, count in _HEADS_BY_NAME.items() if facts.architecture.startswith(name)), None)
    heads = heads_of(width, asked=heads or by_name, exceptions=_HEADS_BY_WIDTH)
    with refused_sizes(where, SUPPORTED):
        return Architecture(
            image_size=math.isqrt(tokens - first) * patch,
            patch_size=patch,
            layers=len(layers),
            heads=heads,
            width=width,
            mlp_width=mlp_width,
            classes=shape("head.weight", 2)[0] if "head.weight" in state else 0,
            layer_norm_eps=_EPS,
            activation="tanh" if facts.architecture.startswith(_TANH) else "erf",
            class_token=class_token,
            distillation_token=distillation_token,
            registers=registers,
            pooling=pooling,
            norm_after_pooling=after,
        )


def _positioned(tokens: int, known: int, registers: int, where: str) -> int:
    """Counts the tokens in front of the patches that have positions: the class token, all tokens, or none."""
    for first in (known, known + registers, 0):
        if tokens > first and math.isqrt(tokens - first) ** 2 == tokens - first:
            return first
    raise CheckpointError(where, f"its position embedding of {tokens} is of no square picture", SUPPORTED)


def _pooling(state: StateDict, global_pool: str | None, where: str) -> tuple[Pooling, bool]:
    """Tells what the head reads, and whether the last LayerNorm comes after the mean."""
    after, class_token = "fc_norm.weight" in state, "cls_token" in state
    pool = global_pool or ("avg" if after or not class_token else "token")
    if pool == "avg":
        return "patch_mean", after
    if pool != "token" or not class_token or after:
        raise CheckpointError(
            where, f"global_pool {pool} is not supported with these weights", "only token and avg are"
        )
    distilled = "head_dist.weight" in state or ("dist_token" in state and "head.weight" in state)
    return ("class_and_distillation_token" if distilled else "class_token"), False


def _canonical(state: StateDict, arch: Architecture, where: str) -> StateDict:
    """Gives the weights under the graph's names."""
    width, reader = arch.width, StateReader(state, where, "timm's Vision Transformer of its sizes")
    tokens = state["pos_embed"].shape[1]
    table = reader.take("pos_embed", 1, tokens, width)
    canonical = named("conv_proj", reader.take_pair("patch_embed.proj", width, 3, arch.patch_size, arch.patch_size))
    if arch.class_token:
        canonical["class_token"] = reader.take("cls_token", 1, 1, width)
    if arch.distillation_token:
        canonical["distillation_token"] = reader.take("dist_token", 1, 1, width)
    if arch.registers:
        canonical["register_tokens"] = reader.take("reg_token", 1, arch.registers, width)
    qkv_bias = reader.has("blocks.0.attn.qkv.bias")
    layer_scale = any(re.match(r"blocks\.\d+\.ls[12]\.", name) for name in state)
    for layer in range(arch.layers):
        canonical |= _block(reader, layer, arch, qkv_bias=qkv_bias, layer_scale=layer_scale)
    canonical |= named("encoder.ln", reader.take_pair("fc_norm" if arch.norm_after_pooling else "norm", width))
    if arch.classes:
        head = reader.take_pair("head", arch.classes, width)
        if arch.pooling == "class_and_distillation_token":
            head = mean_of_heads(head, reader.take_pair("head_dist", arch.classes, width))
        canonical |= named("heads.head", head)
    reader.finish()
    canonical[POSITIONS] = all_tokens(table, first=tokens - arch.grid**2, prefix=arch.prefix)
    return canonical


def _block(reader: StateReader, layer: int, arch: Architecture, *, qkv_bias: bool, layer_scale: bool) -> StateDict:
    theirs, width = f"blocks.{layer}", arch.width
    output = reader.take_pair(f"{theirs}.attn.proj", width, width)
    hidden = reader.take_pair(f"{theirs}.mlp.fc1", arch.mlp_width, width)
    last = reader.take_pair(f"{theirs}.mlp.fc2", width, arch.mlp_width)
    if layer_scale:
        output = scaled_rows(output, reader.take(f"{theirs}.ls1.gamma", width))
        last = scaled_rows(last, reader.take(f"{theirs}.ls2.gamma", width))
    packed = f"{theirs}.attn.qkv"
    weight = reader.take(f"{packed}.weight", 3 * width, width)
    bias = reader.take(f"{packed}.bias", 3 * width) if qkv_bias else torch.zeros(3 * width)
    before, after = (reader.take_pair(f"{theirs}.norm{number}", width) for number in (1, 2))
    return block(layer, norms=(before, after), qkv=(weight, bias), output=output, mlp=(hidden, last))
