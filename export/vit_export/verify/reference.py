"""The reference that an export is verified against: a model in PyTorch, from whichever library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from vit_export.verify.rollout import rollout
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Architecture, Output, Reading, Rollout


@dataclass(frozen=True, kw_only=True)
class Answers:
    """PyTorch's answers for pictures (N, 3, H, W)."""

    embedding: torch.Tensor
    """The embedding, (N, E)."""
    logits: torch.Tensor | None
    """The logits, (N, C); None for a model without a head."""
    attention: list[torch.Tensor]
    """Attention weights (N, H, S, S) of each layer, from the first to the last; empty unless asked for."""
    pooling: torch.Tensor | None = None
    """Attention weights (N, H, 1, S) of the pooling's probe; None where there is none, or unless asked for."""


class ReferenceModel(Protocol):
    """A model in PyTorch that exports are compared with."""

    name: str
    """Packages that the model comes from, with their versions."""
    reading: Reading
    """Whose code read the model's checkpoint."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """Gives answers for normalised pictures (N, 3, H, W) in float32; is called in inference mode."""


def attention_weights(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Softmax(Q Kᵀ / √K): (N, H, S, K) twice to (N, H, S, S)."""
    scores = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1)


def answers(
    model: ReferenceModel, inputs: Sequence[torch.Tensor], arch: Architecture, how: Rollout | None
) -> dict[Output, FloatArray]:
    """Asks PyTorch about normalised pictures, one at a time, and gives the answers by output (N, ...)."""
    found: dict[Output, list[torch.Tensor]] = {}
    for picture in inputs:
        with torch.inference_mode():
            answer = model(picture[None], attention=how is not None)
            if answer.logits is not None:
                found.setdefault("logits", []).append(answer.logits)
            found.setdefault("embedding", []).append(answer.embedding)
            if how is not None:
                found.setdefault("rollout", []).append(rollout(answer.attention, arch, how, answer.pooling))
    return {output: torch.cat(values).numpy() for output, values in found.items()}
