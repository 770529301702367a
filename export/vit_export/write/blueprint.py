"""What a graph is built from."""

from __future__ import annotations

from dataclasses import dataclass

from vit_export.write.weights import WeightSource
from vit_runtime.artifact import Architecture, Preprocessing, Rollout


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A Vision Transformer with its weights, and what else its graph is to give."""

    arch: Architecture
    preprocessing: Preprocessing
    """The preparation, whose mean and deviation are folded into the patch projection."""
    weights: WeightSource
    rollout: Rollout | None = None
    """How to roll out attention for a map; None adds no map."""
