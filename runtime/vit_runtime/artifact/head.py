"""What the classes of an artifact come from, and what their probabilities mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vit_runtime.artifact.examples import ExampleClasses

Probabilities = Literal["softmax", "sigmoid"]
"""How logits become probabilities: shares of one, or each class by itself."""
HeadOrigin = Literal["checkpoint", "texts", "examples"]
PLACE: Final = "{}"
"""Stands for a class's label in a prompt."""


@dataclass(frozen=True, kw_only=True)
class TextClasses:
    """Classes that are described in words.

    A class's texts are its own prompts, or where it has none the templates; the directions that a text tower gives them
    are averaged. In both, `{}` stands for the class's label.
    """

    templates: tuple[str, ...]
    """Prompts of the classes that have none of their own."""
    prompts: tuple[tuple[str, ...], ...]
    """Each class's own prompts, in the order of the classes; empty where the templates are its prompts."""
    model: str
    """The model whose text tower read them."""
    libraries: str
    """Packages that ran the text tower, with their versions."""

    def __post_init__(self) -> None:
        if not self.templates and not all(self.prompts):
            raise ValueError("there are classes without prompts of their own, and no templates")


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
