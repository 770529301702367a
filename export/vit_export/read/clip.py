"""CLIP's picture tower (Radford et al. 2021) as transformers has it, by itself or beside the texts' tower.

It is read from `config.json`, `preprocessor_config.json` and the weights, without transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import torch

from vit_export.errors import refused_sizes
from vit_export.progress import Progress
from vit_export.read.canonical import named
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.huggingface_files import (
    activation,
    architecture_name,
    contents_of,
    epsilon,
    preparation,
    whole_number,
)
from vit_export.read.positions import POSITIONS
from vit_export.read.repository import CONFIG, Repository
from vit_export.read.state_dict import StateDict
from vit_export.read.tower import sizes, tower_block, tower_reader, vision_config
from vit_runtime.artifact import Architecture

MODEL_TYPES: Final = ("clip", "clip_vision_model")
_PROJECTS: Final[Mapping[str, bool]] = {
    # Whether the class projects the class token to the space that pictures and texts share.
    "CLIPModel": True,
    "CLIPVisionModelWithProjection": True,
    "CLIPVisionModel": False,
}


def read_repository(repository: Repository, config: Mapping[str, Any], progress: Progress) -> Checkpoint:
    """Reads a model as its files describe it.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    arch = _architecture(config, f"{repository.where}/{CONFIG}")

    convert = partial(_canonical, arch=arch, where=repository.where)
    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=preparation(repository, "clip", arch.image_size),
        assumptions=(),
        labels=None,
        heads_known_by=f"{CONFIG} says how many there are",
        resizing="centres",
        read=lambda: contents_of(repository, convert, progress),
    )


def _architecture(config: Mapping[str, Any], where: str) -> Architecture:
    """Gives the sizes that the configuration states; sizes that it leaves out have transformers' defaults."""
    name = architecture_name(config, _PROJECTS, where)
    both = name == "CLIPModel"
    vision, there = vision_config(config, where)
    if both and isinstance(old := config.get("vision_config_dict"), Mapping):
        vision, there = old, f"{where}, vision_config_dict"  # of 2022, and transformers still prefers it
    projection = 0
    if _PROJECTS[name]:
        projection = whole_number(config if both else vision, "projection_dim", 512, where if both else there)
    tower = sizes(vision, 32, there)
    with refused_sizes(there, "fetch it again"):
        return Architecture(
            **asdict(tower),
            classes=0,
            layer_norm_eps=epsilon(vision, 1e-5, there),
            activation=activation(vision, "quick_gelu", there),
            norm_before_blocks=True,
            projection=projection,
        )


def _canonical(state: StateDict, *, arch: Architecture, where: str) -> StateDict:
    """Gives the weights under the graph's names; CLIP has no bias in the patches' projection, nor in the last one."""
    width, reader = arch.width, tower_reader(state, where)
    patches = reader.take("embeddings.patch_embedding.weight", width, 3, arch.patch_size, arch.patch_size)
    canonical = named("conv_proj", (patches, torch.zeros(width)))
    canonical["class_token"] = reader.take("embeddings.class_embedding", width)[None, None]
    canonical[POSITIONS] = reader.take("embeddings.position_embedding.weight", arch.tokens, width)[None]
    canonical |= named("encoder.ln_pre", reader.take_pair("pre_layrnorm", width))
    for layer in range(arch.layers):
        canonical |= tower_block(reader, layer, width, arch.mlp_width)
    canonical |= named("encoder.ln", reader.take_pair("post_layernorm", width))
    if arch.projection:
        joint = reader.take("visual_projection.weight", arch.projection, width)
        canonical |= named("projection", (joint, torch.zeros(arch.projection)))
    reader.finish()
    return canonical
