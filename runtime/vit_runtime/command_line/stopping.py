"""Lets a command finish the pictures in its works when it is told to end, by Ctrl-C or by the system."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Final, TypeVar

import typer

from vit_runtime.command_line.console import note

_Item = TypeVar("_Item")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Takes no more pictures after the first signal; the second one ends the command at once.

    Use it as a context. The exit status is that of shells: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until_asked(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Gives items until the command is told to end."""
        for item in items:
            if self._asked is not None:
                return
            yield item

    @property
    def is_asked(self) -> bool:
        """Whether the command was told to end."""
        return self._asked is not None

    def exit_if_asked(self, answered: int) -> None:
        """Ends a command that was told to, and says how far it came."""
        if self._asked is not None:
            note(f"stopped after {answered:,} pictures")
            raise typer.Exit(128 + self._asked)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self._asked is not None:
            raise KeyboardInterrupt
        self._asked = number
