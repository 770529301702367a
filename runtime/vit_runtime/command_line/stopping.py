"""Lets a command finish the pictures in its works when it is told to end, by Ctrl-C or by the system."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Final, TypeVar

import typer

from vit_runtime.command_line.console import Ended, note
from vit_runtime.wording import plural

_Item = TypeVar("_Item")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Takes no more pictures after the first signal; the second one ends the command at once.

    Use it as a context. The exit status is that of shells: 130 after Ctrl-C, 143 after SIGTERM. A signal that whoever
    started the command wants ignored stays so: a shell's job in the background does not hear Ctrl-C.
    """

    def __init__(self, *, patient: bool = True) -> None:
        """Prepares the context.

        Args:
            patient: False for a single picture, which is nothing to finish: the first signal ends it at once.
        """
        self._patient = patient
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                self._before[number] = signal.signal(number, self._ask)
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
            note(f"stopped after {plural(answered, 'picture')}")
            raise typer.Exit(128 + self._asked)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        ends_now = self._asked is not None or not self._patient
        self._asked = number
        if ends_now:
            raise Ended(number)
