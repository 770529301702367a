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
from vit_export.read.canonical import block, mean_of_heads, named, scaled_rows
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.huggingface_files import (
    activation,
    architecture_name,
    classes_of,
    contents_of,
    epsilon,
    note_several_labels,
    preparation,
    refuse_other_channels,
    whole_number,
)
from vit_export.read.positions import POSITIONS, all_tokens
from vit_export.read.repository import CONFIG, Repository
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader
from vit_runtime.artifact import Architecture, Pooling

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
MODEL_TYPES: Final = tuple(_FAMILIES)
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
    family, head = _FAMILIES[config["model_type"]], _HEADS[architecture_name(config, _HEADS, where)]
    classes, labels = classes_of(config, where) if head != "none" else (0, None)
    arch = _architecture(config, family, head, classes, where)
    prepared = preparation(repository, config["model_type"], arch.image_size)
    note_several_labels(config, progress)
    convert = partial(
        _canonical,
        arch=arch,
        family=family,
        head=head,
        where=repository.where,
        qkv_bias=bool(config.get("qkv_bias", True)),
    )
    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=prepared,
        assumptions=(),
        labels=labels,
        usually_labelled=True,
        heads_known_by=f"{CONFIG} says how many there are",
        takes_any_size=family.dinov2,
        resizing="antialiased" if family.antialias else "centres",
        read=lambda: contents_of(repository, convert, progress),
    )


def _architecture(config: Mapping[str, Any], family: _Family, head: _Head, classes: int, where: str) -> Architecture:
    """Gives the sizes that the configuration states; sizes that it leaves out have transformers' defaults."""
    number = partial(whole_number, config, where=where)
    refuse_other_channels(config, where)
    if config.get("use_swiglu_ffn", False):
        raise CheckpointError(where, "use_swiglu_ffn (DINOv2 giant) is not supported", "take small, base or large")
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
            layer_norm_eps=epsilon(config, family.layer_norm_eps, where),
            activation=activation(config, "gelu", where),
            distillation_token=family.distillation_token,
            registers=number("num_register_tokens", family.registers) if family.registers else 0,
            pooling=pooling,
        )


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
