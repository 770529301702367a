"""What a family's reader makes of a checkpoint.

Nothing in it depends on what a user wants otherwise, but for the number of attention heads, which only the user can say
where no configuration does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vit_export.read.picture_preparation import Preparation
from vit_export.read.positions import Resizing
from vit_export.read.state_dict import StateDict
from vit_runtime.artifact import Architecture, Assumption, Source


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The weights of a checkpoint, and where they come from."""

    source: Source
    files: Path | None
    """Where a library could load it from: a file of weights, or the folder with `config.json` and all that was fetched;
    None for torchvision's, which need no other reader."""
    state: StateDict
    """float32, under torchvision's names; see `vit_export.read.canonical`."""


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
    """What the files do not say and was taken all the same, but for the preparation of pictures, which says it itself.
    """
    labels: tuple[str, ...] | None
    """The class names that come with the weights; None where they bring none."""
    usually_labelled: bool = False
    """Whether such files bring class names as a rule, so that it is worth a note where they do not."""
    heads_known_by: str | None = None
    """What says how many attention heads there are, as the middle of a message; None where a user may say it."""
    takes_any_size: bool = False
    """Whether the model was trained to read pictures of other sizes than its weights are for."""
    resizing: Resizing
    """How its library fits position embeddings to another size."""
    read: Callable[[], Contents]
    """Gives the weights, downloaded and read only now where a configuration or torchvision says all else.

    Raises:
        VitEdgeError: of `vit_export.errors`: they cannot be had, or do not fit the architecture.
    """
