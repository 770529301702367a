"""What a family's reader finds in a checkpoint.

It is the same for every request, except for the number of attention heads: where no configuration states that number,
only the user can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vit_export.read.picture_preparation import Preparation
from vit_export.read.positions import Resizing
from vit_export.read.state_dict import StateDict
from vit_runtime.artifact import Architecture, Assumption, Probabilities, Source


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The weights of a checkpoint, and where they come from."""

    source: Source
    files: Path | None
    """Path that a library could load the checkpoint from: a file of weights, or the folder with `config.json` and all
    that was fetched; None for torchvision's weights, which need no other reader."""
    state: StateDict
    """Weights in float32, under torchvision's names; see `vit_export.read.canonical`."""
    rotary: Callable[[int], StateDict] | None = None
    """Gives the tables of rotary positions for a grid of so many patches along each side, under the names that
    `vit_export.read.canonical` lists; None without rotary positions."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A Vision Transformer as its files describe it, for pictures of the size that its weights are for."""

    name: str
    """What to call the model."""
    where: str
    """What to call the checkpoint in a message."""
    architecture: Architecture
    preparation: Preparation
    assumptions: tuple[Assumption, ...]
    """What was assumed because the files do not say it; an assumed preparation of pictures is in `preparation`."""
    labels: tuple[str, ...] | None
    """The class names that come with the weights; None where they bring none."""
    probabilities: Probabilities = "softmax"
    """How the logits become probabilities."""
    usually_labelled: bool = False
    """Whether such files usually bring class names; the user is then told if they are missing."""
    heads_known_by: str | None = None
    """What fixes the number of attention heads, as the middle of a message; None where a user may choose it."""
    takes_any_size: bool = False
    """Whether the model was trained to read pictures of other sizes than its weights are for."""
    resizing: Resizing
    """How the checkpoint's library fits position embeddings to another size."""
    read: Callable[[], Contents]
    """Gives the weights. They are downloaded and read only now, where a configuration or torchvision says all else.

    Raises:
        VitEdgeError: one of `vit_export.errors`: the weights cannot be had, or do not fit the architecture.
    """
