"""What every source hands over."""

from __future__ import annotations

from dataclasses import dataclass

from vit_export.read.state_dict import StateDict
from vit_export.verify.reference import ReferenceModel
from vit_runtime.artifact import Architecture, Assumption, Preprocessing, Source


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """All that a graph, its artifact and its verification need."""

    name: str
    source: Source
    architecture: Architecture
    preprocessing: Preprocessing
    assumptions: tuple[Assumption, ...]
    """What the checkpoint does not say and was taken all the same."""
    labels: tuple[str, ...] | None
    """The class names that come with the weights; None where they bring none."""
    state: StateDict
    """Weights under torchvision's names, whatever they were called; see `vit_export.read.canonical`."""
    reference: ReferenceModel
    """A model in PyTorch with these weights."""
