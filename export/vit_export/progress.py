"""How a long export tells what it is doing: the command line shows it, libraries may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the stages of an export, one after the other."""

    def stage(self, description: str, total: int | None = None) -> None:
        """Begins a stage; `total` is its amount of work in any unit, None if unknown."""

    def advance(self, amount: int) -> None:
        """Counts `amount` more of the stage's work as done."""

    def note(self, text: str) -> None:
        """Tells the user something that they should know, in one line."""


class Silent:
    """Shows nothing."""

    def stage(self, description: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, amount: int) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
