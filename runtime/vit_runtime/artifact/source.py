"""Where the weights come from, and what was taken although they do not say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["torchvision", "timm", "huggingface"]
"""Whose Vision Transformer a checkpoint is."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the weights come from."""

    family: Family
    weights: str
    """Name of the published weights entry or repository, name of the checkpoint file or folder, or "random"."""
    sha256: str | None
    """Digest of the checkpoint file, of several one after the other; None for random weights."""
    licence: str | None
    seed: int | None
    """Seed of random weights, whose answers mean nothing; None for real ones."""

    @property
    def is_random(self) -> bool:
        """Whether the weights were never trained."""
        return self.seed is not None


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Something that the checkpoint does not say and no comparison with a model built on it can find wrong."""

    subject: Literal["heads", "gelu", "preprocessing"]
    value: str
    """What was taken, in words."""
    basis: str
    """Why: a rule of thumb, a file's name, an option of the user's."""
