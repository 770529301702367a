"""The text towers of Hugging Face's CLIP and SigLIP, with or without their picture tower beside them.

They are read from `config.json` and the weights, without transformers. SigLIP 2 of a fixed resolution has SigLIP's
configuration. Names and order are those of `transformers/models/{clip,siglip}/modeling_*.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import torch

from vit_export.errors import CheckpointError, UnknownModelError, refused_sizes
from vit_export.progress import Progress
from vit_export.read import torchvision
from vit_export.read.canonical import block, named
from vit_export.read.finding import repository_of
from vit_export.read.repository import CONFIG, Repository, folder_of, licence, read_json, read_weights
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_runtime.artifact import Activation, Source, TextArchitecture

TextFamily = Literal["clip", "siglip"]

_FAMILIES: Final[Mapping[str, TextFamily]] = {
    "clip": "clip",
    "clip_text_model": "clip",
    "siglip": "siglip",
    "siglip_text_model": "siglip",
}
"""Families by the model type of a configuration."""
_DEFAULTS: Final[Mapping[TextFamily, Mapping[str, Any]]] = {
    "clip": {
        "vocab_size": 49_408,
        "hidden_size": 512,
        "intermediate_size": 2_048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "eos_token_id": 49_407,
    },
    "siglip": {
        "vocab_size": 32_000,
        "hidden_size": 768,
        "intermediate_size": 3_072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 64,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    },
}
"""What transformers takes for a value that a configuration leaves out."""
_ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "quick_gelu": "quick",
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "silu": "silu",
}
_HEAD: Final[Mapping[TextFamily, str]] = {"clip": "text_projection", "siglip": "head"}
"""The layer that leads into the space of the pictures."""
_OLD_END: Final = 2
"""What old configurations of CLIP say in place of the end's number; transformers then looks for the largest number."""
_OTHERS: Final = r"(vision_model|visual_projection)\..*|logit_(scale|bias)|.*position_ids"
"""Weights of the picture tower, and what no embedding depends on."""
_REMEDY: Final = "give a CLIP or SigLIP model in Hugging Face's format, such as openai/clip-vit-base-patch32"


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """Where a text tower lies, and of which kind it is."""

    name: str
    where: str
    """What to call the checkpoint in a message."""
    model_type: str
    """What the configuration calls its kind: both towers, or the text tower alone."""
    family: TextFamily
    files: Path
    """The folder with `config.json` and all that was fetched."""
    repository: Repository
    context: int
    """Tokens that the tower reads at most."""


@dataclass(frozen=True, kw_only=True)
class TextTower(TextFiles):
    """A text tower as its files describe it."""

    source: Source
    architecture: TextArchitecture
    state: StateDict
    """Weights in float32: `token_embedding` (V, D), and `encoder.*` and `projection.*` as in `read.canonical`."""


def find_text_tower(model: str, progress: Progress) -> TextFiles:
    """Finds the text tower of a folder or of a repository of the hub by its configuration, without its weights.

    Raises:
        VitEdgeError: one of `vit_export.errors`: there is no such model, or none with a text tower.
    """
    repository, config, where = _configured(model, progress)
    family = _family(config, repository.where)
    return _files(repository, config, family, _stated(config, family, where), where)


def read_text_tower(model: str, progress: Progress) -> TextTower:
    """Reads the text tower of a folder or of a repository of the hub.

    Raises:
        VitEdgeError: one of `vit_export.errors`: there is no such model, it has no text tower, or its files do not fit.
    """
    repository, config, where = _configured(model, progress)
    family = _family(config, repository.where)
    stated = _stated(config, family, where)
    files = _files(repository, config, family, stated, where)
    state, digest = read_weights(repository, progress)
    state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    head = state.get(f"{_HEAD[family]}.weight")
    if "embeddings.token_embedding.weight" not in state:
        raise CheckpointError(repository.where, "has no text tower: its weights are of pictures only", _REMEDY)
    if head is None or head.ndim != 2:
        what = f"has no {_HEAD[family]}, which leads into the space of the pictures"
        raise CheckpointError(repository.where, what, "give the whole model, or its text model with projection")
    arch = _architecture(stated, family, len(head), where)
    return TextTower(
        **vars(files),
        source=Source(
            family="huggingface", weights=repository.source, sha256=digest, licence=licence(repository), seed=None
        ),
        architecture=arch,
        state=_canonical(state, arch, family, repository.where),
    )


def _configured(model: str, progress: Progress) -> tuple[Repository, Mapping[str, Any], str]:
    """Gives a model's files, its configuration, and what to call that in a message."""
    repository = repository_of(model, progress)
    if repository is None:
        if model in torchvision.MODELS or Path(model).is_file():
            raise CheckpointError(model, "has no text tower: it reads pictures only", _REMEDY)
        raise UnknownModelError("model", model, ("openai/clip-vit-base-patch32",), "or give a folder with config.json")
    config = read_json(repository, CONFIG)
    where = f"{repository.where}/{CONFIG}"
    if config is None:
        raise CheckpointError(repository.where, f"has no {CONFIG}", "give the folder that holds it")
    return repository, config, where


def _files(
    repository: Repository, config: Mapping[str, Any], family: TextFamily, stated: Mapping[str, Any], where: str
) -> TextFiles:
    files = folder_of(repository)
    assert files is not None  # noqa: S101 - config.json was found above
    return TextFiles(
        name=repository.name,
        where=repository.where,
        model_type=config["model_type"],
        family=family,
        files=files,
        repository=repository,
        context=_whole_number(stated, "max_position_embeddings", where),
    )


def _family(config: Mapping[str, Any], where: str) -> TextFamily:
    if "model_type" not in config and "architecture" in config:
        what = "is a timm model, which has no text tower here"
        raise CheckpointError(where, what, "give the same weights in Hugging Face's format")
    model_type = str(config.get("model_type"))
    if model_type not in _FAMILIES:
        raise CheckpointError(where, f"has no text tower that is known: its model type is '{model_type}'", _REMEDY)
    return _FAMILIES[model_type]


def _stated(config: Mapping[str, Any], family: TextFamily, where: str) -> Mapping[str, Any]:
    """Gives what a configuration says of the text tower, with transformers' defaults for what it leaves out."""
    parts = [config]
    if config["model_type"] == family:  # both towers; CLIP's old files say it again in `text_config_dict`, which counts
        parts = [config.get(key) or {} for key in ("text_config", "text_config_dict")]
    if not all(isinstance(part, Mapping) for part in parts):
        raise CheckpointError(where, "text_config is no object", "fetch it again")
    stated = dict(_DEFAULTS[family])
    for part in parts:
        stated |= {key: value for key, value in part.items() if key in stated}
    return stated


def _architecture(stated: Mapping[str, Any], family: TextFamily, projection: int, where: str) -> TextArchitecture:
    number = partial(_whole_number, stated, where=where)
    activation, eps = str(stated["hidden_act"]), stated["layer_norm_eps"]
    if activation not in _ACTIVATIONS:
        raise CheckpointError(
            where, f"hidden_act {activation} is not supported", f"supported are {', '.join(_ACTIVATIONS)}"
        )
    if not isinstance(eps, (int, float)):
        raise CheckpointError(where, f"layer_norm_eps {eps} is not supported", "fetch it again")
    end = number("eos_token_id") if family == "clip" else None
    with refused_sizes(where, "fetch it again"):
        return TextArchitecture(
            context=number("max_position_embeddings"),
            vocabulary=number("vocab_size"),
            layers=number("num_hidden_layers"),
            heads=number("num_attention_heads"),
            width=number("hidden_size"),
            mlp_width=number("intermediate_size"),
            layer_norm_eps=float(eps),
            activation=_ACTIVATIONS[activation],
            causal=family == "clip",
            pooling="last_token" if end is None else "largest_token" if end == _OLD_END else "end_token",
            end_token=None if end == _OLD_END else end,
            projection=projection,
        )


def _whole_number(stated: Mapping[str, Any], key: str, where: str) -> int:
    value = stated[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CheckpointError(where, f"{key} {value} is not supported", "only whole numbers are")
    return value


def _canonical(state: StateDict, arch: TextArchitecture, family: TextFamily, where: str) -> StateDict:
    reader = StateReader(state, where, f"the text tower that its {CONFIG} describes")
    reader.drop(_OTHERS)
    width = arch.width
    canonical: StateDict = {
        "token_embedding": reader.take("embeddings.token_embedding.weight", arch.vocabulary, width),
        "encoder.pos_embedding": reader.take("embeddings.position_embedding.weight", arch.context, width)[None],
    }
    for layer in range(arch.layers):
        canonical |= _block(reader, layer, arch)
    canonical |= named("encoder.ln", reader.take_pair("final_layer_norm", width))
    head = _HEAD[family]
    if family == "siglip":
        canonical |= named("projection", reader.take_pair(head, arch.projection, width))
    else:
        weight = reader.take(f"{head}.weight", arch.projection, width)
        canonical |= named("projection", (weight, torch.zeros(arch.projection)))
    reader.finish()
    return canonical


def _block(reader: StateReader, layer: int, arch: TextArchitecture) -> StateDict:
    theirs, width = f"encoder.layers.{layer}", arch.width
    qkv = [reader.take_pair(f"{theirs}.self_attn.{name}_proj", width, width) for name in "qkv"]
    before, after = (reader.take_pair(f"{theirs}.layer_norm{number}", width) for number in (1, 2))
    return block(
        layer,
        norms=(before, after),
        qkv=(torch.cat([weight for weight, _ in qkv]), torch.cat([bias for _, bias in qkv])),
        output=reader.take_pair(f"{theirs}.self_attn.out_proj", width, width),
        mlp=(
            reader.take_pair(f"{theirs}.mlp.fc1", arch.mlp_width, width),
            reader.take_pair(f"{theirs}.mlp.fc2", width, arch.mlp_width),
        ),
    )
