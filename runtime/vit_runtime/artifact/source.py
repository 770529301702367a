"""Where the weights come from, and what the export assumed because the checkpoint does not say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["torchvision", "timm", "huggingface", "open_clip"]
"""The library whose Vision Transformer a checkpoint holds."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the weights come from."""

    family: Family
    weights: str
    """Name of the published weights entry or repository, name of the checkpoint file or folder, or "random"."""
    sha256: str | None
    """SHA-256 of the checkpoint file, or of several files one after the other; None for random weights."""
    licence: str | None
    seed: int | None
    """Seed of random weights, whose answers mean nothing; None for real ones."""

    @property
    def is_random(self) -> bool:
        """Whether the weights were never trained."""
        return self.seed is not None


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """A guess where the checkpoint says nothing; a comparison with a model built on it cannot find it wrong."""

    subject: Literal["heads", "activation", "preprocessing"]
    value: str
    """What was assumed, in words."""
    basis: str
    """Why it was assumed: a rule of thumb, a file's name, an option of the user's."""
