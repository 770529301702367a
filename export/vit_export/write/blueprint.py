"""What a graph is built from."""

from __future__ import annotations

from dataclasses import dataclass

from vit_export.write.weights import WeightSource
from vit_runtime.artifact import Architecture, Preprocessing, Rollout


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A Vision Transformer with its weights, and what its graph is to give besides."""

    arch: Architecture
    preprocessing: Preprocessing
    """Its mean and deviation are folded into the patch projection."""
    weights: WeightSource
    rollout: Rollout | None = None
    """How to roll out attention; None is without."""
