"""SigLIP's picture tower (Zhai et al. 2023), and SigLIP 2's for pictures of one size, as transformers has them.

SigLIP 2's files call themselves `siglip` as well; `siglip2` is its variant for pictures of any proportions. Both are
read from `config.json`, `preprocessor_config.json` and the weights, without transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.progress import Progress
from vit_export.read.canonical import named
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.config_values import activation, classes_of, layer_norm_eps, named_architecture, probabilities_of
from vit_export.read.huggingface_files import contents_of, preparation
from vit_export.read.positions import POSITIONS
from vit_export.read.repository import CONFIG, Repository
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_export.read.tower import sizes, tower_block, tower_reader, vision_config
from vit_runtime.artifact import Architecture

MODEL_TYPES: Final = ("siglip", "siglip_vision_model")
_CLASSIFIER: Final = "SiglipForImageClassification"
_MODELS: Final = ("SiglipModel", "SiglipVisionModel", _CLASSIFIER)


def read_repository(repository: Repository, config: Mapping[str, Any], progress: Progress) -> Checkpoint:
    """Reads a model as its files describe it.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    where = f"{repository.where}/{CONFIG}"
    classifies = named_architecture(config, _MODELS, where) == _CLASSIFIER
    classes, labels = classes_of(config, where) if classifies else (0, None)
    arch = _architecture(config, classes, where, gathers=not classifies)

    convert = partial(_canonical, arch=arch, where=repository.where)
    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=preparation(repository, "siglip", arch.image_size),
        assumptions=(),
        labels=labels,
        probabilities=probabilities_of(config),
        usually_labelled=classifies,
        heads_known_by=f"{CONFIG} says how many there are",
        resizing="centres",
        read=lambda: contents_of(repository, convert, progress),
    )


def _architecture(config: Mapping[str, Any], classes: int, where: str, *, gathers: bool) -> Architecture:
    """Gives the sizes that the configuration states; sizes that it leaves out have transformers' defaults.

    Args:
        config: what `config.json` holds.
        classes: how many the head has.
        where: what to call the configuration in a message.
        gathers: whether the class uses the pooling head, if there is one. Otherwise the patches are averaged, as
            transformers' classifier does; transformers gives no embedding at all for a tower without pooling head.
    """
    vision, there = vision_config(config, where)
    head = vision.get("vision_use_head", True)
    if not isinstance(head, bool):
        raise CheckpointError(there, f"vision_use_head {head} is not supported", "fetch it again")
    tower = sizes(vision, 16, there)
    with refused_sizes(there, "fetch it again"):
        return Architecture(
            **asdict(tower),
            classes=classes,
            layer_norm_eps=layer_norm_eps(vision, 1e-6, there),
            activation=activation(vision, "gelu_pytorch_tanh", there),
            class_token=False,
            pooling="attention" if head and gathers else "patch_mean",
        )


def _canonical(state: StateDict, *, arch: Architecture, where: str) -> StateDict:
    """Gives the weights under the graph's names."""
    width, reader = arch.width, tower_reader(state, where)
    patches = reader.take_pair("embeddings.patch_embedding", width, 3, arch.patch_size, arch.patch_size)
    canonical = named("conv_proj", patches)
    canonical[POSITIONS] = reader.take("embeddings.position_embedding.weight", arch.tokens, width)[None]
    for layer in range(arch.layers):
        canonical |= tower_block(reader, layer, width, arch.mlp_width)
    canonical |= named("encoder.ln", reader.take_pair("post_layernorm", width))
    if arch.pooling == "attention":
        canonical |= _pooling(reader, arch)
    if arch.classes:
        reader.drop(r"head\..*")  # the classifier averages the patches instead
        canonical |= named("heads.head", reader.take_pair("classifier", arch.classes, width))
    reader.finish()
    return canonical


def _pooling(reader: StateReader, arch: Architecture) -> StateDict:
    """Takes the weights of the head that gathers all tokens with a learned probe."""
    width, key = arch.width, "pool.self_attention"
    weights = {
        "pool.probe": reader.take("head.probe", 1, 1, width),
        f"{key}.in_proj_weight": reader.take("head.attention.in_proj_weight", 3 * width, width),
        f"{key}.in_proj_bias": reader.take("head.attention.in_proj_bias", 3 * width),
    }
    weights |= named(f"{key}.out_proj", reader.take_pair("head.attention.out_proj", width, width))
    weights |= named("pool.ln", reader.take_pair("head.layernorm", width))
    weights |= named("pool.mlp.0", reader.take_pair("head.mlp.fc1", arch.mlp_width, width))
    weights |= named("pool.mlp.3", reader.take_pair("head.mlp.fc2", width, arch.mlp_width))
    return weights
