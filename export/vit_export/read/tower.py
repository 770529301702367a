"""What the picture towers of CLIP and SigLIP share in transformers: sizes, names of weights, and the half to leave out.

Names and layer order are those of `transformers/models/{clip,siglip}/modeling_*.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from vit_export.errors import CheckpointError
from vit_export.read.canonical import block
from vit_export.read.huggingface_files import refuse_other_channels, whole_number
from vit_export.read.repository import CONFIG
from vit_export.read.state_dict import StateDict
from vit_export.read.state_reader import StateReader

_PREFIX: Final = "vision_model."
"""What names begin with, but for those that transformers 5 saves of a tower by itself."""
_OTHERS: Final = r"text_model\..*|text_projection\.(weight|bias)|logit_(scale|bias)|embeddings\.position_ids"
"""The texts' half, what joins both, and a counter of positions."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a tower, as fields of an `Architecture`."""

    image_size: int
    patch_size: int
    layers: int
    heads: int
    width: int
    mlp_width: int


def vision_config(config: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], str]:
    """Gives the part of a configuration that is about pictures, and what to call it in a message.

    A tower by itself has a configuration of its own; with both towers there is one in the other.

    Raises:
        CheckpointError: there is no such part.
    """
    if str(config["model_type"]).endswith("_vision_model"):
        return config, where
    part = config.get("vision_config")
    if not isinstance(part, Mapping):
        raise CheckpointError(where, "has no vision_config, so it describes no pictures", "fetch it again")
    return part, f"{where}, vision_config"


def sizes(config: Mapping[str, Any], patch_size: int, where: str) -> Sizes:
    """Gives the sizes that a tower's configuration states; those that it leaves out have transformers' defaults.

    Args:
        config: as `vision_config` gives it.
        patch_size: the family's default.
        where: what to call the configuration in a message.

    Raises:
        CheckpointError: a size is no whole number above zero.
    """
    number = partial(whole_number, config, where=where)
    refuse_other_channels(config, where)
    return Sizes(
        image_size=number("image_size", 224),
        patch_size=number("patch_size", patch_size),
        layers=number("num_hidden_layers", 12),
        heads=number("num_attention_heads", 12),
        width=number("hidden_size", 768),
        mlp_width=number("intermediate_size", 3072),
    )


def tower_reader(state: StateDict, where: str) -> StateReader:
    """Gives a reader of the picture tower's weights, under their names in a tower by itself."""
    tower = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    reader = StateReader(tower, where, f"the model that its {CONFIG} describes")
    reader.drop(_OTHERS)
    return reader


def tower_block(reader: StateReader, layer: int, width: int, mlp_width: int) -> StateDict:
    """Takes the weights of one block, (D, D), (M, D) and so on, and gives them under the graph's names."""
    theirs = f"encoder.layers.{layer}"
    before, after = (reader.take_pair(f"{theirs}.layer_norm{number}", width) for number in (1, 2))
    qkv = [reader.take_pair(f"{theirs}.self_attn.{name}_proj", width, width) for name in "qkv"]
    weight, bias = (torch.cat(parts) for parts in zip(*qkv, strict=True))
    output = reader.take_pair(f"{theirs}.self_attn.out_proj", width, width)
    hidden = reader.take_pair(f"{theirs}.mlp.fc1", mlp_width, width)
    last = reader.take_pair(f"{theirs}.mlp.fc2", width, mlp_width)
    return block(layer, norms=(before, after), qkv=(weight, bias), output=output, mlp=(hidden, last))
