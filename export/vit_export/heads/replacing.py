"""Puts a head in place of the checkpoint's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch

from vit_export.errors import CheckpointError
from vit_export.read.canonical import named
from vit_export.read.prepare import Prepared
from vit_runtime.artifact import Head

_HEAD: Final = "heads.head"


@dataclass(frozen=True, kw_only=True)
class NewHead:
    """A linear layer that reads the embedding scaled to length 1."""

    labels: tuple[str, ...]
    weight: torch.Tensor
    """float32 (C, E)."""
    bias: torch.Tensor
    """float32 (C,)."""
    head: Head


def with_head(prepared: Prepared, new: NewHead) -> Prepared:
    """Gives a checkpoint with another head, which replaces its classes and their labels.

    Raises:
        CheckpointError: the head reads vectors of another length than the embedding's.
    """
    arch = prepared.architecture
    classes, length = new.weight.shape
    if length != arch.embedding_width:
        what = f"gives pictures {arch.embedding_width} numbers and texts {length}: they are not of one space"
        raise CheckpointError(prepared.source.weights, what, "give the model whose two towers were trained together")
    state = {name: tensor for name, tensor in prepared.state.items() if not name.startswith(f"{_HEAD}.")}
    return replace(
        prepared,
        architecture=replace(arch, classes=classes, normalised_head=True),
        labels=new.labels,
        head=new.head,
        state=state | named(_HEAD, (new.weight, new.bias)),
    )
