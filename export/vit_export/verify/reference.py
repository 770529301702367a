"""The reference that an export is verified against: a model in PyTorch, whoever's it is."""

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
    """What PyTorch says of pictures (N, 3, H, W)."""

    embedding: torch.Tensor
    """(N, D)."""
    logits: torch.Tensor | None
    """(N, C); None without a head."""
    attention: list[torch.Tensor]
    """Attention weights of each layer (N, H, S, S), the first layer's first; none unless asked for."""


class ReferenceModel(Protocol):
    """A model in PyTorch that exports are held to."""

    name: str
    """Packages and versions."""
    reading: Reading
    """Whose code read the checkpoint for it."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """Answers for normalised pictures (N, 3, H, W), in float32; called in inference mode."""


def attention_weights(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Softmax(Q Kᵀ / √K): (N, H, S, K) twice to (N, H, S, S)."""
    scores = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1)


def answers(
    model: ReferenceModel, inputs: Sequence[torch.Tensor], arch: Architecture, how: Rollout | None
) -> dict[Output, FloatArray]:
    """PyTorch's answers by output (N, ...) for normalised pictures, one at a time."""
    found: dict[Output, list[torch.Tensor]] = {}
    for picture in inputs:
        with torch.inference_mode():
            answer = model(picture[None], attention=how is not None)
            if answer.logits is not None:
                found.setdefault("logits", []).append(answer.logits)
            found.setdefault("embedding", []).append(answer.embedding)
            if how is not None:
                found.setdefault("rollout", []).append(rollout(answer.attention, arch, how))
    return {output: torch.cat(values).numpy() for output, values in found.items()}
