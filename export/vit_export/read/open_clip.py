"""CLIP's picture tower with OpenAI's names, as open_clip has it (`open_clip/transformer.py`, `VisionTransformer`).

It is read without open_clip, from a folder or hub repository with `open_clip_config.json`, or from a file of weights by
itself. The texts' tower is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.progress import Progress
from vit_export.read import assumed
from vit_export.read.attention_heads import heads_of
from vit_export.read.canonical import block, named, on_paper, scaled_rows
from vit_export.read.checkpoint import Checkpoint, Contents
from vit_export.read.families import SIGN
from vit_export.read.open_clip_config import FILE, preprocessing, read_architecture, read_preparation
from vit_export.read.picture_preparation import Preset, in_proportion
from vit_export.read.positions import POSITIONS
from vit_export.read.repository import Repository, folder_of, licence, read_weights
from vit_export.read.state_dict import StateDict, sha256
from vit_export.read.state_reader import StateReader
from vit_runtime.artifact import Activation, Architecture, Source

WEIGHTS: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_PREFIX: Final = "visual."
_SIGN: Final = SIGN["open_clip"].removeprefix(_PREFIX)
_HEADS_BY_WIDTH: Final = {1280: 16, 1408: 16, 1664: 16}
"""Number of heads by width, for ViT-H, ViT-g and ViT-bigG, whose heads are wider than 64."""
_HEADS_RULE: Final = "width / 64, or as open_clip's model of that width has them"
_OPENAI: Final = ("input_resolution", "context_length", "vocab_size")
"""Sizes that OpenAI's own files keep beside the weights."""
_QUICK_NAMES: Final = re.compile(r"quickgelu|openai", re.IGNORECASE)
_ONLY: Final = "only CLIP's Vision Transformers are supported"
_PRESET: Final = "CLIP's own preparation"


def read_repository(repository: Repository, document: Mapping[str, Any], progress: Progress) -> Checkpoint:
    """Reads a model as its `open_clip_config.json` describes it.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    where = f"{repository.where}/{FILE}"
    arch = read_architecture(document, where)
    stated = read_preparation(document, arch.image_size, where)
    unstated = Preset(name=_PRESET, why=f"{FILE} does not say how pictures were prepared")

    def read() -> Contents:
        state, digest = read_weights(repository, progress, WEIGHTS)
        convert = partial(
            _canonical, arch=arch, where=repository.where, described=f"the model that its {FILE} describes"
        )
        convert(on_paper(state))
        terms = licence(repository)
        source = Source(family="open_clip", weights=repository.source, sha256=digest, licence=terms, seed=None)
        return Contents(source=source, files=folder_of(repository, FILE), state=convert(state))

    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=in_proportion(
            stated or preprocessing(arch.image_size), FILE, None if stated is not None else unstated
        ),
        assumptions=(),
        labels=None,
        heads_known_by=f"{FILE} says how many there are",
        resizing="antialiased",
        read=read,
    )


def read_file(path: Path, state: StateDict, *, heads: int | None = None) -> Checkpoint:
    """Reads a file of weights by itself; what it does not say is guessed, and listed as an assumption.

    Args:
        path: where the state dict was read from.
        state: what `read_state_dict` gave.
        heads: attention heads; None is the usual number.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for what is not supported.
    """
    quick, why = _quick(path, state)
    arch = _off_shapes(state, heads, "quick" if quick else "erf", str(path))
    convert = partial(_canonical, arch=arch, where=str(path), described="CLIP's Vision Transformer of its sizes")
    convert(on_paper(state))
    unstated = Preset(name=_PRESET, why="a checkpoint does not say how pictures were prepared")

    def read() -> Contents:
        source = Source(family="open_clip", weights=path.name, sha256=sha256(path), licence=None, seed=None)
        return Contents(source=source, files=path, state=convert(state))

    return Checkpoint(
        name=path.stem,
        where=str(path),
        architecture=arch,
        preparation=in_proportion(preprocessing(arch.image_size), path.name, unstated),
        assumptions=(
            assumed.heads(arch.heads, asked=heads is not None, rule=_HEADS_RULE),
            assumed.activation(arch.activation, why),
        ),
        labels=None,
        resizing="antialiased",
        read=read,
    )


def _quick(path: Path, state: StateDict) -> tuple[bool, str]:
    """Tells whether the MLP has OpenAI's quick GELU, as far as can be known, and by what."""
    if all(name in state for name in _OPENAI):
        return True, "the file keeps the sizes that OpenAI's own do"
    if _QUICK_NAMES.search(path.name):
        return True, "the file's name says so"
    return False, "open_clip's usual kind; a name with quickgelu or openai in it would mean the other"


def _off_shapes(state: StateDict, heads: int | None, activation: Activation, where: str) -> Architecture:
    """Reads sizes and kind off the weights."""
    tower = {name: tuple(tensor.shape) for name, tensor in _tower(state).items()}

    def shape(name: str, axes: int) -> tuple[int, ...]:
        found = tower.get(name, ())
        if len(found) != axes or 0 in found:
            what = f"has shape {found}, where {axes} axes belong" if found else "is missing"
            raise CheckpointError(where, f"{_PREFIX}{name} {what}", _ONLY)
        return found

    width, channels, patch, _ = shape(_SIGN, 4)
    if channels != 3:
        raise CheckpointError(where, f"reads pictures of {channels} channels", "only 3 are supported")
    if any(name.startswith("layer1.") for name in tower):
        raise CheckpointError(where, "its picture tower is a ResNet", _ONLY)
    layers = {int(match.group(1)) for name in tower if (match := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    if not layers or layers != set(range(len(layers))):
        raise CheckpointError(where, "has no complete row of blocks", "save the whole state dict again")
    tokens = shape("positional_embedding", 2)[0]
    grid = math.isqrt(max(tokens - 1, 0))
    if tokens < 2 or grid**2 != tokens - 1:
        raise CheckpointError(where, f"its position embedding of {tokens} is of no square picture", _ONLY)
    with refused_sizes(where, _ONLY):
        return Architecture(
            image_size=grid * patch,
            patch_size=patch,
            layers=len(layers),
            heads=heads_of(width, asked=heads, exceptions=_HEADS_BY_WIDTH),
            width=width,
            mlp_width=shape("transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
            classes=0,
            layer_norm_eps=1e-5,
            activation=activation,
            norm_before_blocks="ln_pre.weight" in tower,
            projection=shape("proj", 2)[1],
        )


def _tower(state: StateDict) -> StateDict:
    """Takes the picture tower's weights, under their names in it."""
    return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}


def _canonical(state: StateDict, *, arch: Architecture, where: str, described: str) -> StateDict:
    """Gives the weights under the graph's names; CLIP has no bias in the patches' projection, nor in the last one."""
    width, reader = arch.width, StateReader(_tower(state), where, described)
    patches = reader.take(_SIGN, width, 3, arch.patch_size, arch.patch_size)
    canonical = named("conv_proj", (patches, torch.zeros(width)))
    canonical["class_token"] = reader.take("class_embedding", width)[None, None]
    canonical[POSITIONS] = reader.take("positional_embedding", arch.tokens, width)[None]
    if arch.norm_before_blocks:
        canonical |= named("encoder.ln_pre", reader.take_pair("ln_pre", width))
    for layer in range(arch.layers):
        canonical |= _block(reader, layer, arch)
    canonical |= named("encoder.ln", reader.take_pair("ln_post", width))
    joint = reader.take("proj", width, arch.projection).T.contiguous()
    canonical |= named("projection", (joint, torch.zeros(arch.projection)))
    reader.finish()
    return canonical


def _block(reader: StateReader, layer: int, arch: Architecture) -> StateDict:
    theirs, width = f"transformer.resblocks.{layer}", arch.width
    weight = reader.take(f"{theirs}.attn.in_proj_weight", 3 * width, width)
    bias = reader.take(f"{theirs}.attn.in_proj_bias", 3 * width)
    output = reader.take_pair(f"{theirs}.attn.out_proj", width, width)
    hidden = reader.take_pair(f"{theirs}.mlp.c_fc", arch.mlp_width, width)
    last = reader.take_pair(f"{theirs}.mlp.c_proj", width, arch.mlp_width)
    if reader.has(f"{theirs}.ls_1.gamma"):
        output = scaled_rows(output, reader.take(f"{theirs}.ls_1.gamma", width))
        last = scaled_rows(last, reader.take(f"{theirs}.ls_2.gamma", width))
    before, after = (reader.take_pair(f"{theirs}.ln_{number}", width) for number in (1, 2))
    return block(layer, norms=(before, after), qkv=(weight, bias), output=output, mlp=(hidden, last))
