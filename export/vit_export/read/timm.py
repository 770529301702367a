"""timm's Vision Transformers: ViT, AugReg, DeiT, DeiT III, DINO, DINOv2, with class token or averaged patches.

Read from a file of weights with timm's names, or from a folder or hub repository with timm's `config.json`, without
timm. Names and layer order are those of `timm/models/vision_transformer.py` and `timm/models/deit.py`; DINO's and
DINOv2's own checkpoints have them too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from vit_export.errors import CheckpointError
from vit_export.progress import Progress
from vit_export.read import assumed
from vit_export.read.canonical import StateReader, mean_of_heads, on_paper, positions, scaled_rows
from vit_export.read.loaded import LoadedModel
from vit_export.read.preparation import check_image_size, with_options
from vit_export.read.repository import CONFIG, Repository, licence, read_weights
from vit_export.read.state_dict import StateDict, sha256
from vit_export.read.timm_config import ARCHITECTURE, SUPPORTED, TimmConfig, read_config, refuse_others
from vit_export.request import IMAGENET_LABELS, ExportRequest
from vit_export.verify.plain_vit import PlainViT
from vit_runtime.artifact import Architecture, Pooling, Preprocessing, Source
from vit_runtime.errors import UsageError, option

SIGN: Final = "patch_embed.proj.weight"
"""A weight that every checkpoint with timm's names has, and no other family's."""
_EPS: Final = 1e-6
"""timm's for every Vision Transformer that is supported here."""
_HEAD_WIDTH: Final = 64
_HEADS_BY_WIDTH: Final = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
"""So400m, ViT-H, ViT-g and ViT-G, whose heads are wider."""
_HEADS_BY_NAME: Final = {"vit_base_patch16_gap_224": 16, "vit_giantopt_patch16_siglip_gap": 16}
_HEADS_RULE: Final = "width / 64, or as timm's model of that width has them"
_PRESET: Final = "timm's usual preparation"
_TANH: Final = (
    "vit_base_patch32_siglip_gap_256",
    "vit_giantopt_patch16_siglip_gap",
    "vit_large_patch16_siglip_gap_512",
    "vit_so400m_patch16_siglip_gap",
)
"""Architectures, by the start of their name, that timm makes with GELU's tanh form."""
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


def load_file(request: ExportRequest, path: Path, state: StateDict, progress: Progress) -> LoadedModel:
    """A file of weights by itself: what it does not say is guessed as timm would, and named.

    Raises:
        VitEdgeError: of `vit_export.errors`, for what is not supported.
    """
    source = Source(family="timm", weights=path.name, sha256=sha256(path), licence=None, seed=None)
    # A file is commonly called as its architecture, whose name tells what weights do not.
    named = path.stem.partition(".")[0]
    known = ARCHITECTURE.fullmatch(named) is not None
    if known:
        refuse_others(named, str(path))
    loaded = _load(request, path.stem, source, state, TimmConfig(architecture=named if known else ""), str(path))
    arch = loaded.architecture
    if request.heads is None:
        progress.note(f"a checkpoint does not say how many attention heads it has; using {arch.heads}")
    progress.note(f"a checkpoint does not say how pictures were prepared; using {loaded.preprocessing}")
    by_name = f"the file is called as timm's {named}" if known else "the usual kind"
    assumptions = (
        assumed.heads(arch.heads, asked=request.heads is not None, rule=by_name if known else _HEADS_RULE),
        assumed.gelu(arch.gelu, by_name),
        assumed.preprocessing(_PRESET, request.preprocessing, "a checkpoint does not say how pictures were prepared"),
    )
    return replace(loaded, assumptions=assumptions)


def load(request: ExportRequest, repository: Repository, config: Mapping[str, Any], progress: Progress) -> LoadedModel:
    """Reads a model from its files.

    Raises:
        VitEdgeError: of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    facts = read_config(config, f"{repository.where}/{CONFIG}")
    state, digest = read_weights(repository, progress)
    source = Source(
        family="timm",
        weights=repository.source,
        sha256=digest,
        licence=facts.licence or licence(repository),
        seed=None,
    )
    loaded = _load(request, repository.name, source, state, facts, repository.where)
    if request.heads is not None:
        asked = assumed.heads(request.heads, asked=True, rule="")
        loaded = replace(loaded, assumptions=(*loaded.assumptions, asked))
    if facts.image_size is None:
        basis = f"{CONFIG} does not say how pictures were prepared"
        taken = assumed.preprocessing(_PRESET, request.preprocessing, basis)
        loaded = replace(loaded, assumptions=(*loaded.assumptions, taken))
        progress.note(f"{CONFIG} does not say how pictures were prepared; using {loaded.preprocessing}")
    if loaded.labels is None and loaded.architecture.classes and request.labels is None:
        imagenet = f" ({option('labels', IMAGENET_LABELS)} for ImageNet-1k's)"
        hint = imagenet if loaded.architecture.classes == 1000 else ""
        progress.note(f"{repository.where} names no classes; give {option('labels')}{hint}, or they go by number")
    return loaded


def _load(
    request: ExportRequest, name: str, source: Source, state: StateDict, facts: TimmConfig, where: str
) -> LoadedModel:
    state = _todays_names(state)
    _refuse_foreign(state, where)
    native = _architecture(state, facts, request.heads, where)
    arch = native
    if request.image_size is not None:
        check_image_size(request.image_size, native.patch_size)
        arch = replace(native, image_size=request.image_size)
    elif facts.image_size not in (None, native.image_size):
        raise CheckpointError(
            where,
            f"{CONFIG} says pictures of {facts.image_size}, and the position embedding is for {native.image_size}",
            f"say which with {option('image_size', facts.image_size)} or {option('image_size', native.image_size)}",
        )
    _canonical(on_paper(state), native, arch, where)
    canonical = _canonical(state, native, arch, where)
    return LoadedModel(
        name=name,
        source=source,
        architecture=arch,
        preprocessing=with_options(_prepared(facts, arch.image_size, where), request.preprocessing),
        assumptions=(),
        labels=facts.labels if facts.labels and len(facts.labels) == arch.classes else None,
        state=canonical,
        reference=PlainViT(arch, canonical),
    )


def _prepared(facts: TimmConfig, image_size: int, where: str) -> Preprocessing:
    try:
        return facts.preprocessing(image_size)
    except ValueError as error:
        raise CheckpointError(
            where, f"{CONFIG} prepares pictures in no way that is possible: {error}", "fetch it again"
        ) from error


def _todays_names(state: StateDict) -> StateDict:
    """The names that timm gives the weights of DINOv2's and DeiT III's own checkpoints."""
    renamed = {
        re.sub(r"\.gamma_([12])$", r".ls\1.gamma", name): tensor
        for name, tensor in state.items()
        if name != "mask_token"  # of training only
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
    """Sizes and kind, read off the weights; the configuration adds what leaves no trace in them."""

    def shape(name: str, axes: int) -> tuple[int, ...]:
        if name not in state:
            raise CheckpointError(where, f"is no Vision Transformer of timm's: it has no {name}", SUPPORTED)
        found = tuple(state[name].shape)
        if len(found) != axes or 0 in found:
            raise CheckpointError(where, f"{name} has shape {found}, where {axes} axes belong", SUPPORTED)
        return found

    width, channels, patch, _ = shape(SIGN, 4)
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
    heads = _heads(heads, facts.architecture, width)
    try:
        return Architecture(
            image_size=math.isqrt(tokens - first) * patch,
            patch_size=patch,
            layers=len(layers),
            heads=heads,
            width=width,
            mlp_width=mlp_width,
            classes=shape("head.weight", 2)[0] if "head.weight" in state else 0,
            layer_norm_eps=_EPS,
            gelu="tanh" if facts.architecture.startswith(_TANH) else "erf",
            class_token=class_token,
            distillation_token=distillation_token,
            registers=registers,
            pooling=pooling,
            norm_after_pooling=after,
        )
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(where, str(error), SUPPORTED) from error


def _heads(asked: int | None, architecture: str, width: int) -> int:
    known = next((heads for name, heads in _HEADS_BY_NAME.items() if architecture.startswith(name)), None)
    known = asked or known or _HEADS_BY_WIDTH.get(width)
    if known is None and width % _HEAD_WIDTH:
        what = f"needed: a width of {width} is no multiple of {_HEAD_WIDTH}"
        raise UsageError(option("heads"), what, "name the number")
    heads = known or width // _HEAD_WIDTH
    if width % heads:
        what = f"{heads} heads do not divide a width of {width}"
        raise UsageError(option("heads"), what, f"try {width // _HEAD_WIDTH}")
    return heads


def _positioned(tokens: int, known: int, registers: int, where: str) -> int:
    """How many tokens in front of the patches have positions: the class token, all of them, or none."""
    for first in (known, known + registers, 0):
        if tokens > first and math.isqrt(tokens - first) ** 2 == tokens - first:
            return first
    raise CheckpointError(where, f"its position embedding of {tokens} is of no square picture", SUPPORTED)


def _pooling(state: StateDict, global_pool: str | None, where: str) -> tuple[Pooling, bool]:
    """What the head reads, and whether the last LayerNorm comes behind the mean."""
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


def _canonical(state: StateDict, native: Architecture, arch: Architecture, where: str) -> StateDict:
    """The weights under the graph's names; `native` has the picture size of the checkpoint, `arch` the one wanted."""
    width, reader = arch.width, StateReader(state, where, "timm's Vision Transformer of its sizes")
    tokens = state["pos_embed"].shape[1]
    table = reader.take("pos_embed", 1, tokens, width)
    canonical: StateDict = {
        "conv_proj.weight": reader.take(SIGN, width, 3, arch.patch_size, arch.patch_size),
        "conv_proj.bias": reader.take("patch_embed.proj.bias", width),
    }
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
    norm = "fc_norm" if arch.norm_after_pooling else "norm"
    canonical["encoder.ln.weight"], canonical["encoder.ln.bias"] = reader.norm(norm, width)
    if arch.classes:
        head = reader.linear("head", arch.classes, width)
        if arch.pooling == "class_and_distillation_token":
            head = mean_of_heads(head, reader.linear("head_dist", arch.classes, width))
        canonical["heads.head.weight"], canonical["heads.head.bias"] = head
    reader.finish()
    canonical["encoder.pos_embedding"] = positions(
        table, first=tokens - native.grid**2, prefix=arch.prefix, grid=arch.grid, antialias=True
    )
    return canonical


def _block(reader: StateReader, layer: int, arch: Architecture, *, qkv_bias: bool, layer_scale: bool) -> StateDict:
    ours, theirs = f"encoder.layers.encoder_layer_{layer}", f"blocks.{layer}"
    width = arch.width
    output = reader.linear(f"{theirs}.attn.proj", width, width)
    hidden = reader.linear(f"{theirs}.mlp.fc1", arch.mlp_width, width)
    last = reader.linear(f"{theirs}.mlp.fc2", width, arch.mlp_width)
    if layer_scale:
        output = scaled_rows(*output, reader.take(f"{theirs}.ls1.gamma", width))
        last = scaled_rows(*last, reader.take(f"{theirs}.ls2.gamma", width))
    packed = f"{theirs}.attn.qkv"
    block = {
        f"{ours}.self_attention.in_proj_weight": reader.take(f"{packed}.weight", 3 * width, width),
        f"{ours}.self_attention.in_proj_bias": reader.take(f"{packed}.bias", 3 * width)
        if qkv_bias
        else torch.zeros(3 * width),
    }
    pairs = {"self_attention.out_proj": output, "mlp.0": hidden, "mlp.3": last}
    for number in (1, 2):
        pairs[f"ln_{number}"] = reader.norm(f"{theirs}.norm{number}", width)
    for name, (weight, bias) in pairs.items():
        block[f"{ours}.{name}.weight"], block[f"{ours}.{name}.bias"] = weight, bias
    return block
