"""What the classes of an artifact come from, and what their probabilities mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Probabilities = Literal["softmax", "sigmoid"]
"""How logits become probabilities: shares of one, or each class by itself."""
HeadOrigin = Literal["checkpoint", "texts", "examples"]


@dataclass(frozen=True, kw_only=True)
class TextClasses:
    """Classes that are described in words."""

    prompts: tuple[tuple[str, ...], ...]
    """The texts of each class, in the order of the classes; their directions are averaged."""


@dataclass(frozen=True, kw_only=True)
class ExampleClasses:
    """Classes that were fitted to photos."""

    photos: tuple[int, ...]
    """Number of photos of each class."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where a head's classes come from."""

    origin: HeadOrigin
    probabilities: Probabilities = "softmax"
    texts: TextClasses | None = None
    """Set where the origin is "texts"."""
    examples: ExampleClasses | None = None
    """Set where the origin is "examples"."""

    def __post_init__(self) -> None:
        if (self.texts is not None) != (self.origin == "texts"):
            raise ValueError(f"origin {self.origin} and key texts do not go together")
        if (self.examples is not None) != (self.origin == "examples"):
            raise ValueError(f"origin {self.origin} and key examples do not go together")
