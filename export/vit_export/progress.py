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


class Named:
    """Puts a file's name in front of what is told, where an export writes several."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress

    def stage(self, description: str, total: int | None = None) -> None:
        """Begins a stage of this file."""
        self._progress.stage(f"{self._name}: {description}", total)

    def advance(self, amount: int) -> None:
        """Counts `amount` more of the stage's work as done."""
        self._progress.advance(amount)

    def note(self, text: str) -> None:
        """Tells the user something about this file."""
        self._progress.note(f"{self._name}: {text}")
