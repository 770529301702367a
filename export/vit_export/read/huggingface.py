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

from vit_export.errors import refused_sizes
from vit_export.progress import Progress
from vit_export.read.canonical import Pair, block, halves, mean_of_heads, named, scaled_rows, stacked
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.config_values import (
    activation,
    classes_of,
    layer_norm_eps,
    named_architecture,
    probabilities_of,
    refuse_other_channels,
    whole_number,
)
from vit_export.read.huggingface_files import contents_of, preparation
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
    (re.compile(r"\.mlp\.down_proj\."), ".mlp.weights_out."),
)


def read_repository(repository: Repository, config: Mapping[str, Any], progress: Progress) -> Checkpoint:
    """Reads a model as its files describe it.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    where = f"{repository.where}/{CONFIG}"
    family, head = _FAMILIES[config["model_type"]], _HEADS[named_architecture(config, _HEADS, where)]
    classes, labels = classes_of(config, where) if head != "none" else (0, None)
    arch = _architecture(config, family, head, classes, where)
    prepared = preparation(repository, config["model_type"], arch.image_size)
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
        probabilities=probabilities_of(config),
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
    pooling: Pooling = "class_token"
    if head != "none" and family.dinov2:
        pooling = "class_token_and_patch_mean"
    elif head == "two":
        pooling = "class_and_distillation_token"
    gated = family.dinov2 and bool(config.get("use_swiglu_ffn", False))
    with refused_sizes(where, "fetch it again"):
        return Architecture(
            image_size=number("image_size", 224),
            patch_size=number("patch_size", family.patch_size),
            layers=number("num_hidden_layers", 12),
            heads=number("num_attention_heads", 12),
            width=number("hidden_size", 768),
            mlp_width=_mlp_width(config, where, gated=gated) if family.dinov2 else number("intermediate_size", 3072),
            classes=classes,
            layer_norm_eps=layer_norm_eps(config, family.layer_norm_eps, where),
            activation="silu" if gated else activation(config, "gelu", where),
            gated_mlp=gated,
            distillation_token=family.distillation_token,
            registers=number("num_register_tokens", family.registers) if family.registers else 0,
            pooling=pooling,
        )


def _mlp_width(config: Mapping[str, Any], where: str, *, gated: bool) -> int:
    """Gives the width of DINOv2's hidden layer: a gated one has two thirds of it, rounded up to a multiple of 8."""
    width = whole_number(config, "hidden_size", 768, where) * whole_number(config, "mlp_ratio", 4, where)
    return (width * 2 // 3 + 7) // 8 * 8 if gated else width


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
    output = reader.take_pair(f"{theirs}.attention.output.dense", width, width)
    gate, hidden, last = _mlp(reader, theirs, arch, family)
    if family.dinov2:
        output = scaled_rows(output, reader.take(f"{theirs}.layer_scale1.lambda1", width))
        last = scaled_rows(last, reader.take(f"{theirs}.layer_scale2.lambda1", width))
    before, after = (reader.take_pair(f"{theirs}.{name}", width) for name in norms)
    qkv = (f"{theirs}.attention.attention.{name}" for name in ("query", "key", "value"))
    packed = stacked(*(reader.take_pair(name, width, width, bias=qkv_bias) for name in qkv))
    return block(layer, norms=(before, after), qkv=packed, output=output, mlp=(hidden, last), gate=gate)


def _mlp(reader: StateReader, theirs: str, arch: Architecture, family: _Family) -> tuple[Pair | None, Pair, Pair]:
    """Takes the gate, if there is one, the hidden layer and the output of a block's MLP."""
    width, hidden = arch.width, arch.mlp_width
    if not arch.gated_mlp:
        names = ("mlp.fc1", "mlp.fc2") if family.dinov2 else ("intermediate.dense", "output.dense")
        first, last = (f"{theirs}.{name}" for name in names)
        return None, reader.take_pair(first, hidden, width), reader.take_pair(last, width, hidden)
    if reader.has(f"{theirs}.mlp.gate_proj.weight"):  # as transformers 5 has them in memory
        gate, up = (reader.take_pair(f"{theirs}.mlp.{name}_proj", hidden, width) for name in ("gate", "up"))
    else:
        gate, up = halves(reader.take_pair(f"{theirs}.mlp.weights_in", 2 * hidden, width))
    return gate, up, reader.take_pair(f"{theirs}.mlp.weights_out", width, hidden)


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
