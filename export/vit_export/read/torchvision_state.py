"""torchvision's `VisionTransformer`: names and shapes of its weights, the model without weights, and random ones."""

from __future__ import annotations

import re
from math import isqrt
from typing import Final

import numpy as np
import torch
from torch import nn
from torchvision.models import VisionTransformer

from vit_export.errors import CheckpointError, refused_sizes
from vit_export.read.attention_heads import heads_of
from vit_export.read.families import refuse_other_families
from vit_export.read.state_dict import StateDict, described
from vit_runtime.artifact import Architecture

LAYER_NORM_EPS: Final = 1e-6
"""torchvision's default for every Vision Transformer; it is not stored in a checkpoint."""
HEADS_BY_WIDTH: Final = {1280: 16}
"""Number of heads by width, for ViT-H: its heads are wider than those of other published plain Vision Transformers."""

WHAT_IS_SUPPORTED: Final = "give the state dict of a torchvision.models.VisionTransformer"
_LAYER: Final = re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.")
_RENAMED: Final = (
    # torchvision's own weights carry the names of its first release (MLPBlock version 1).
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
    # The head, replaced for fine-tuning: `model.heads = nn.Linear(...)`, or in an nn.Sequential.
    (re.compile(r"^heads(\.0)?\.(weight|bias)$"), r"heads.head.\2"),
)


def canonical_names(state: StateDict) -> StateDict:
    """Gives the same tensors under the names that torchvision uses today."""
    renamed: StateDict = {}
    for name, tensor in state.items():
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)  # noqa: PLW2901 - rewriting the name is the purpose
        renamed[name] = tensor
    return renamed


def read_architecture(state: StateDict, where: object, *, heads: int | None = None) -> Architecture:
    """Reads the sizes off the shapes of the weights.

    Args:
        state: weights under canonical names.
        where: what to call them in a message.
        heads: attention heads, which leave no trace in any shape; None is ViT-H's 16 for its width, else width / 64.

    Raises:
        CheckpointError: these are not the weights of a torchvision Vision Transformer with a linear head.
        UsageError: the heads cannot be guessed, or do not divide the width.
    """
    refuse_other_families(state, "torchvision", where)
    width, _, patch, _ = shape_of(state, "conv_proj.weight", 4, where)
    layers = {int(match.group(1)) for name in state if (match := _LAYER.match(name))}
    if not layers or layers != set(range(len(layers))):
        raise CheckpointError(where, "has no complete row of encoder layers", "save the whole state dict again")
    heads = heads_of(width, asked=heads, exceptions=HEADS_BY_WIDTH)
    mlp_width = shape_of(state, "encoder.layers.encoder_layer_0.mlp.0.weight", 2, where)[0]
    with refused_sizes(where, WHAT_IS_SUPPORTED):
        return Architecture(
            image_size=grid_of(state, where) * patch,
            patch_size=patch,
            layers=len(layers),
            heads=heads,
            width=width,
            mlp_width=mlp_width,
            classes=shape_of(state, "heads.head.weight", 2, where)[0],
            layer_norm_eps=LAYER_NORM_EPS,
        )


def grid_of(state: StateDict, where: object) -> int:
    """Patches along one side, read off the position embedding.

    Raises:
        CheckpointError: the embedding is missing, or does not fit a square picture with a class token.
    """
    tokens = shape_of(state, "encoder.pos_embedding", 3, where)[1]
    grid = isqrt(tokens - 1)
    if grid < 1 or grid * grid + 1 != tokens:
        raise CheckpointError(
            where, f"its position embedding of {tokens} is of no square picture with a class token", WHAT_IS_SUPPORTED
        )
    return grid


def shape_of(state: StateDict, name: str, axes: int, where: object) -> tuple[int, ...]:
    """Gives the shape of a weight that has to be there, with `axes` axes and none of them empty.

    Raises:
        CheckpointError: the weight is missing, or of another kind.
    """
    if name not in state:
        raise CheckpointError(
            where, f"is no torchvision Vision Transformer with a linear head: it has no {name}", WHAT_IS_SUPPORTED
        )
    shape = tuple(state[name].shape)
    if len(shape) != axes or 0 in shape:
        raise CheckpointError(
            where, f"{name} has shape {shape}, where {axes} axes belong, none of them empty", WHAT_IS_SUPPORTED
        )
    return shape


def empty_model(arch: Architecture) -> VisionTransformer:
    """Torchvision's model without memory for its weights."""
    with torch.device("meta"):
        return VisionTransformer(
            image_size=arch.image_size,
            patch_size=arch.patch_size,
            num_layers=arch.layers,
            num_heads=arch.heads,
            hidden_dim=arch.width,
            mlp_dim=arch.mlp_width,
            num_classes=arch.classes,
            norm_layer=lambda width: nn.LayerNorm(width, eps=arch.layer_norm_eps),
        ).eval()


def check_fit(arch: Architecture, state: StateDict, where: object, name: str) -> None:
    """Compares names and shapes with those of torchvision's model.

    Raises:
        CheckpointError: the names or shapes do not fit.
    """
    expected = {key: tuple(tensor.shape) for key, tensor in empty_model(arch).state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    reshaped = [
        f"{key} is {described(state[key])} where {shape} belongs"
        for key, shape in expected.items()
        if key in found and (found[key] != shape or not state[key].is_floating_point())
    ]
    if missing or unexpected or reshaped:
        raise CheckpointError.mismatch(where, name, missing=missing, unexpected=unexpected, reshaped=reshaped)


def random_state(arch: Architecture, seed: int) -> StateDict:
    """Seeded random weights in which every parameter counts.

    torchvision starts the head, the class token and all biases at zero: such a model answers zero for every
    picture, and a comparison with it proves nothing. Matrices here are normal with variance 1 / inputs, so that
    activations keep their size through the layers; LayerNorm weights lie around 1, everything else around 0.
    """
    rng = np.random.default_rng(seed)
    state: StateDict = {}
    for name, parameter in empty_model(arch).state_dict().items():
        values = torch.from_numpy(rng.standard_normal(tuple(parameter.shape), dtype=np.float32))
        if ".ln" in name:
            values.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
        elif values.ndim in (2, 4):
            values.mul_(values[0].numel() ** -0.5)
        else:
            values.mul_(0.1)
        state[name] = values
    return state
