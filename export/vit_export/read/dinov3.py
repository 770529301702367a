"""DINOv3's Vision Transformers in Hugging Face's format (Siméoni et al. 2025).

They are read without transformers. Names, layer order and rotary positions are those of
`transformers/models/dinov3_vit/modeling_dinov3_vit.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import torch

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.progress import Progress
from vit_export.read.canonical import block, named, scaled_rows, stacked
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.config_values import (
    activation,
    layer_norm_eps,
    named_architecture,
    refuse_other_channels,
    whole_number,
)
from vit_export.read.huggingface_files import contents_of, preparation
from vit_export.read.positions import POSITIONS
from vit_export.read.repository import CONFIG, Repository
from vit_export.read.rotary import axes_of_patches, shared_tables
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_runtime.artifact import Architecture

_MODEL_TYPE: Final = "dinov3_vit"
MODEL_TYPES: Final = (_MODEL_TYPE,)
_CLASSES: Final = ("DINOv3ViTModel",)
_QUERY_KEY_VALUE: Final = (("query", True), ("key", False), ("value", True))
"""The parts of attention, each with transformers' default of whether it has a bias."""


def read_repository(repository: Repository, config: Mapping[str, Any], progress: Progress) -> Checkpoint:
    """Reads a model as its files describe it.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    where = f"{repository.where}/{CONFIG}"
    named_architecture(config, _CLASSES, where)
    arch = _architecture(config, where)
    theta = _theta(config, where)

    def rotary(grid: int) -> StateDict:
        return shared_tables(_angles(grid, arch.width // arch.heads, theta), arch.prefix)

    convert = partial(_canonical, arch=arch, config=config, where=repository.where)
    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=preparation(repository, _MODEL_TYPE, arch.image_size),
        assumptions=(),
        labels=None,
        heads_known_by=f"{CONFIG} says how many there are",
        takes_any_size=True,
        resizing="centres",  # of no table: its positions are zeros
        read=lambda: contents_of(repository, convert, progress, rotary),
    )


def _architecture(config: Mapping[str, Any], where: str) -> Architecture:
    """Gives the sizes that the configuration states; sizes that it leaves out have transformers' defaults."""

    def number(key: str, default: int) -> int:
        return whole_number(config, key, default, where)

    refuse_other_channels(config, where)
    gated = bool(config.get("use_gated_mlp", False))
    width, heads = number("hidden_size", 384), number("num_attention_heads", 6)
    if width // heads % 4:
        raise CheckpointError(where, f"heads of {width // heads} are not supported", "only multiples of 4 are")
    with refused_sizes(where, "fetch it again"):
        return Architecture(
            image_size=number("image_size", 224),
            patch_size=number("patch_size", 16),
            layers=number("num_hidden_layers", 12),
            heads=heads,
            width=width,
            mlp_width=number("intermediate_size", 1536),
            classes=0,
            layer_norm_eps=layer_norm_eps(config, 1e-5, where),
            activation=activation(config, "gelu", where, gated=gated),
            gated_mlp=gated,
            rotary="shared",
            registers=whole_number(config, "num_register_tokens", 0, where, least=0),
        )


def _theta(config: Mapping[str, Any], where: str) -> float:
    theta = config.get("rope_theta", 100.0)
    if not isinstance(theta, (int, float)) or not 1 <= theta <= 1e9:  # also refuses NaN
        raise CheckpointError(where, f"rope_theta {theta} is not supported", "fetch it again")
    return float(theta)


def _angles(grid: int, head: int, theta: float) -> torch.Tensor:
    """Gives the angles of patches (G·G, K/2), in transformers' order of operations and all in float32.

    Meta's own checkpoints hold periods in bfloat16; transformers computes them anew, as timm does.
    """
    frequencies = 1 / theta ** torch.arange(0, 1, 4 / head, dtype=torch.float32)  # (K/4,)
    centres = torch.arange(0.5, grid, dtype=torch.float32) / grid
    return (2 * math.pi * axes_of_patches(2.0 * centres - 1.0) * frequencies).flatten(1)


def _canonical(state: StateDict, *, arch: Architecture, config: Mapping[str, Any], where: str) -> StateDict:
    """Gives the weights under the graph's names."""
    width = arch.width
    # Published files leave out `model.`, which the names in memory have.
    files = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    reader = StateReader(files, where, f"the model that its {CONFIG} describes")
    reader.drop(r"embeddings\.mask_token|rope_embeddings\..*")
    canonical: StateDict = {"class_token": reader.take("embeddings.cls_token", 1, 1, width)}
    registers = reader.take("embeddings.register_tokens", 1, arch.registers, width)
    if arch.registers:
        canonical["register_tokens"] = registers
    patches = reader.take_pair("embeddings.patch_embeddings", width, 3, arch.patch_size, arch.patch_size)
    canonical |= named("conv_proj", patches)
    for layer in range(arch.layers):
        canonical |= _block(reader, layer, arch, config)
    canonical |= named("encoder.ln", reader.take_pair("norm", width))
    reader.finish()
    canonical[POSITIONS] = torch.zeros(1, arch.tokens, width, device=registers.device)
    return canonical


def _block(reader: StateReader, layer: int, arch: Architecture, config: Mapping[str, Any]) -> StateDict:
    theirs, width, hidden = f"layer.{layer}", arch.width, arch.mlp_width
    packed = stacked(
        *(
            reader.take_pair(f"{theirs}.attention.{part[0]}_proj", width, width, bias=config.get(f"{part}_bias", has))
            for part, has in _QUERY_KEY_VALUE
        )
    )
    output = reader.take_pair(f"{theirs}.attention.o_proj", width, width, bias=config.get("proj_bias", True))
    bias = config.get("mlp_bias", True)
    up = reader.take_pair(f"{theirs}.mlp.up_proj", hidden, width, bias=bias)
    down = reader.take_pair(f"{theirs}.mlp.down_proj", width, hidden, bias=bias)
    gate = reader.take_pair(f"{theirs}.mlp.gate_proj", hidden, width, bias=bias) if arch.gated_mlp else None
    before, after = (reader.take_pair(f"{theirs}.norm{number}", width) for number in (1, 2))
    scales = [reader.take(f"{theirs}.layer_scale{number}.lambda1", width) for number in (1, 2)]
    return block(
        layer,
        norms=(before, after),
        qkv=packed,
        output=scaled_rows(output, scales[0]),
        mlp=(up, scaled_rows(down, scales[1])),
        gate=gate,
    )
