"""Vision Transformers of Hugging Face's transformers: ViT, DeiT, DINO (a ViT), DINOv2 with and without registers.

They are read from `config.json`, `preprocessor_config.json` and the weights, without transformers. Names and layer
order are those of `transformers/models/{vit,deit,dinov2,dinov2_with_registers}/modeling_*.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import torch

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.progress import Progress
from vit_export.read.canonical import block, mean_of_heads, named, on_paper, scaled_rows
from vit_export.read.checkpoint import Checkpoint, Contents
from vit_export.read.picture_preparation import Preparation, Preset, in_proportion
from vit_export.read.positions import POSITIONS, all_tokens
from vit_export.read.processor_config import FILE as PROCESSOR
from vit_export.read.processor_config import preset, read_processor
from vit_export.read.repository import CONFIG, Repository, folder_of, licence, read_json, read_weights
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_runtime.artifact import Architecture, Pooling, Source

_Head = Literal["none", "one", "two"]


@dataclass(frozen=True, kw_only=True)
class _Family:
    """What tells one model type from another."""

    prefix: str
    """What the names of weights begin with in a model with a head."""
    layer_norm_eps: float
    """LayerNorm's epsilon where the configuration states none; `patch_size` below is such a default too."""
    patch_size: int
    distillation_token: bool = False
    dinov2: bool = False
    """DINOv2's traits: LayerScale, other names in blocks, a head that reads the patches' mean too, any picture size."""
    registers: int = 0
    antialias: bool = False
    """Whether a position table is made smaller with a widened filter."""


_FAMILIES: Final[Mapping[str, _Family]] = {
    "vit": _Family(prefix="vit.", layer_norm_eps=1e-12, patch_size=16),
    "deit": _Family(prefix="deit.", layer_norm_eps=1e-12, patch_size=16, distillation_token=True),
    "dinov2": _Family(prefix="dinov2.", layer_norm_eps=1e-6, patch_size=14, dinov2=True),
    "dinov2_with_registers": _Family(
        prefix="dinov2_with_registers.", layer_norm_eps=1e-6, patch_size=16, dinov2=True, registers=4, antialias=True
    ),
}
_HEADS: Final[Mapping[str, _Head]] = {
    "ViTForImageClassification": "one",
    "ViTModel": "none",
    "DeiTForImageClassificationWithTeacher": "two",
    "DeiTForImageClassification": "one",
    "DeiTModel": "none",
    "Dinov2ForImageClassification": "one",
    "Dinov2Model": "none",
    "Dinov2WithRegistersForImageClassification": "one",
    "Dinov2WithRegistersModel": "none",
}
_GELU: Final[Mapping[str, Literal["erf", "tanh"]]] = {
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
}
_PLACEHOLDER: Final = re.compile(r"LABEL_\d+")
_TODAY: Final = (
    # transformers 5 uses these names in memory, and so do some files.
    (re.compile(r"(^|\.)layers\.(\d+)\."), r"\1encoder.layer.\2."),
    (re.compile(r"\.attention\.([qkv])_proj\."), r".attention.attention.\1."),
    (re.compile(r"\.attention\.attention\.q\."), ".attention.attention.query."),
    (re.compile(r"\.attention\.attention\.k\."), ".attention.attention.key."),
    (re.compile(r"\.attention\.attention\.v\."), ".attention.attention.value."),
    (re.compile(r"\.attention\.o_proj\."), ".attention.output.dense."),
)


def read_repository(repository: Repository, config: Mapping[str, Any], progress: Progress) -> Checkpoint:
    """Reads a model as its files describe it.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    where = f"{repository.where}/{CONFIG}"
    family, head = _kind(config, where)
    classes, labels = _classes(config, where) if head != "none" else (0, None)
    arch = _architecture(config, family, head, classes, where)
    preparation = _preparation(repository, config["model_type"], arch.image_size)
    if config.get("problem_type") == "multi_label_classification":
        progress.note(
            "trained for several labels at once: its probabilities should be sigmoids, `classify` gives a softmax"
        )

    def read() -> Contents:
        state, digest = read_weights(repository, progress)
        convert = partial(
            _canonical,
            arch=arch,
            family=family,
            head=head,
            where=repository.where,
            qkv_bias=bool(config.get("qkv_bias", True)),
        )
        convert(on_paper(state))
        source = Source(
            family="huggingface", weights=repository.source, sha256=digest, licence=licence(repository), seed=None
        )
        return Contents(source=source, files=folder_of(repository), state=convert(state))

    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=preparation,
        assumptions=(),
        labels=labels,
        usually_labelled=True,
        heads_known_by=f"{CONFIG} says how many there are",
        takes_any_size=family.dinov2,
        resizing="antialiased" if family.antialias else "centres",
        read=read,
    )


def _preparation(repository: Repository, model_type: str, image_size: int) -> Preparation:
    """Gives the preparation in the image processor's file, or else the family's usual one."""
    document = read_json(repository, PROCESSOR)
    if document is not None:
        stated = read_processor(document, model_type, f"{repository.where}/{PROCESSOR}")
        return in_proportion(stated, PROCESSOR)
    usual = Preset(name="the family's usual preparation", why=f"there is no {PROCESSOR}")
    return in_proportion(preset(model_type, image_size, repository.where), PROCESSOR, usual)


def _kind(config: Mapping[str, Any], where: str) -> tuple[_Family, _Head]:
    model_type = str(config.get("model_type"))
    if model_type not in _FAMILIES:
        raise CheckpointError(
            where, f"model type '{model_type}' is not supported", f"supported are {', '.join(_FAMILIES)}"
        )
    named = config.get("architectures")
    named = [str(name) for name in named] if isinstance(named, list) else [str(named)]
    if len(named) != 1 or named[0] not in _HEADS:
        raise CheckpointError(
            where,
            f"architecture {', '.join(named) or 'none'} is not supported",
            f"supported are {', '.join(_HEADS)}",
        )
    return _FAMILIES[model_type], _HEADS[named[0]]


def _classes(config: Mapping[str, Any], where: str) -> tuple[int, tuple[str, ...] | None]:
    """Gives the number of classes, and their names in order; None if the names are transformers' placeholders."""
    names = config.get("id2label")
    if names is None:
        count = config.get("num_labels", 2)  # transformers' default
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise CheckpointError(where, f"num_labels {count} is no number", "fetch it again")
        return count, None
    if not isinstance(names, Mapping):
        raise CheckpointError(where, "id2label is no object", "fetch it again")
    numbers = {str(number) for number in names}
    if numbers != {str(index) for index in range(len(names))}:
        raise CheckpointError(where, f"id2label does not number its {len(names)} classes from 0", "fetch it again")
    by_number = {int(number): str(name) for number, name in names.items()}
    labels = tuple(by_number[index] for index in range(len(by_number)))
    return len(labels), None if all(map(_PLACEHOLDER.fullmatch, labels)) else labels


def _architecture(config: Mapping[str, Any], family: _Family, head: _Head, classes: int, where: str) -> Architecture:
    """Gives the sizes that the configuration states; sizes that it leaves out have transformers' defaults."""

    def number(key: str, default: int) -> int:
        value = config.get(key, default)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(where, f"{key} {value} is not supported", "only whole numbers, and squares, are")
        return value

    if number("num_channels", 3) != 3:
        raise CheckpointError(where, f"num_channels {config['num_channels']} is not supported", "only 3 are")
    pooling: Pooling = "class_token"
    if head != "none" and family.dinov2:
        pooling = "class_token_and_patch_mean"
    elif head == "two":
        pooling = "class_and_distillation_token"
    width = number("hidden_size", 768)
    with refused_sizes(where, "fetch it again"):
        return Architecture(
            image_size=number("image_size", 224),
            patch_size=number("patch_size", family.patch_size),
            layers=number("num_hidden_layers", 12),
            heads=number("num_attention_heads", 12),
            width=width,
            mlp_width=width * number("mlp_ratio", 4) if family.dinov2 else number("intermediate_size", 3072),
            classes=classes,
            layer_norm_eps=_eps(config, family, where),
            activation=_gelu(config, where),
            distillation_token=family.distillation_token,
            registers=number("num_register_tokens", family.registers) if family.registers else 0,
            pooling=pooling,
        )


def _eps(config: Mapping[str, Any], family: _Family, where: str) -> float:
    eps = config.get("layer_norm_eps", family.layer_norm_eps)
    if not isinstance(eps, (int, float)) or not 0 <= eps < 1:  # also refuses NaN
        raise CheckpointError(where, f"layer_norm_eps {eps} is not supported", "fetch it again")
    return float(eps)


def _gelu(config: Mapping[str, Any], where: str) -> Literal["erf", "tanh"]:
    if config.get("use_swiglu_ffn", False):
        raise CheckpointError(where, "use_swiglu_ffn (DINOv2 giant) is not supported", "take small, base or large")
    gelu = str(config.get("hidden_act", "gelu"))
    if gelu not in _GELU:
        raise CheckpointError(where, f"hidden_act {gelu} is not supported", f"supported are {', '.join(_GELU)}")
    return _GELU[gelu]


def _canonical(
    state: StateDict, *, arch: Architecture, family: _Family, head: _Head, where: str, qkv_bias: bool
) -> StateDict:
    """Gives the weights under the graph's names."""
    width = arch.width
    reader = StateReader(_files_names(state, family), where, f"the model that its {CONFIG} describes")
    reader.drop(r"pooler\.dense\.(weight|bias)|embeddings\.mask_token")
    first = 1 + family.distillation_token
    table = reader.take("embeddings.position_embeddings", 1, first + arch.grid**2, width)
    canonical: StateDict = {"class_token": reader.take("embeddings.cls_token", 1, 1, width)}
    projection = reader.take_pair("embeddings.patch_embeddings.projection", width, 3, arch.patch_size, arch.patch_size)
    canonical |= named("conv_proj", projection)
    if family.distillation_token:
        canonical["distillation_token"] = reader.take("embeddings.distillation_token", 1, 1, width)
    if arch.registers:
        canonical["register_tokens"] = reader.take("embeddings.register_tokens", 1, arch.registers, width)
    for layer in range(arch.layers):
        canonical |= _block(reader, layer, arch, family, qkv_bias=qkv_bias)
    canonical |= named("encoder.ln", reader.take_pair("layernorm", width))
    if head == "two":
        heads = (reader.take_pair(f"{name}_classifier", arch.classes, width) for name in ("cls", "distillation"))
        canonical |= named("heads.head", mean_of_heads(*heads))
    elif arch.classes:
        canonical |= named("heads.head", reader.take_pair("classifier", arch.classes, arch.head_width))
    reader.finish()
    canonical[POSITIONS] = all_tokens(table, first=first, prefix=arch.prefix)
    return canonical


def _block(reader: StateReader, layer: int, arch: Architecture, family: _Family, *, qkv_bias: bool) -> StateDict:
    theirs, width = f"encoder.layer.{layer}", arch.width
    norms = ("norm1", "norm2") if family.dinov2 else ("layernorm_before", "layernorm_after")
    mlp = ("mlp.fc1", "mlp.fc2") if family.dinov2 else ("intermediate.dense", "output.dense")
    output = reader.take_pair(f"{theirs}.attention.output.dense", width, width)
    hidden = reader.take_pair(f"{theirs}.{mlp[0]}", arch.mlp_width, width)
    last = reader.take_pair(f"{theirs}.{mlp[1]}", width, arch.mlp_width)
    if family.dinov2:
        output = scaled_rows(output, reader.take(f"{theirs}.layer_scale1.lambda1", width))
        last = scaled_rows(last, reader.take(f"{theirs}.layer_scale2.lambda1", width))
    before, after = (reader.take_pair(f"{theirs}.{name}", width) for name in norms)
    qkv = [f"{theirs}.attention.attention.{name}" for name in ("query", "key", "value")]
    weight = torch.cat([reader.take(f"{name}.weight", width, width) for name in qkv])
    bias = torch.cat([reader.take(f"{name}.bias", width) for name in qkv]) if qkv_bias else torch.zeros(3 * width)
    return block(layer, norms=(before, after), qkv=(weight, bias), output=output, mlp=(hidden, last))


def _files_names(state: StateDict, family: _Family) -> StateDict:
    """Renames weights as in published files, without the prefix of a model with a head."""
    renamed: StateDict = {}
    for name, tensor in state.items():
        name = name.removeprefix(family.prefix)  # noqa: PLW2901 - rewriting the name is the purpose
        for pattern, replacement in _TODAY:
            name = pattern.sub(replacement, name)  # noqa: PLW2901
        if not family.dinov2:
            name = name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")  # noqa: PLW2901
        renamed[name] = tensor
    return renamed
