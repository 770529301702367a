"""Lets workers read pictures with very many pixels one at a time, since each of them takes memory by the gigabyte."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

LARGE: Final = 50_000_000
"""Pixels above which a picture waits for other such pictures. It takes 0.2 GB or more, which cameras rarely need."""
_LONGEST_WAIT: Final = 120.0
"""Seconds that it waits at most: who reads the other one may hang."""
_LOOK_AGAIN: Final = 0.2

_TURN: Final = threading.Lock()
_HERE: Final = threading.local()
"""Of a worker's thread: `clock`, and `has_turn`."""


class Clock(Protocol):
    """Counts how long a worker reads."""

    def pause(self) -> None:
        """The worker waits for another one, which is no time of its own."""

    def resume(self) -> None:
        """It reads again."""

    def is_over(self) -> bool:
        """Whether nobody wants the picture any more."""


@contextmanager
def worker(clock: Clock) -> Iterator[None]:
    """Makes this thread take turns with others inside of the block, which reads one picture."""
    _HERE.clock, _HERE.has_turn = clock, False
    try:
        yield
    finally:
        _HERE.clock = None
        if _HERE.has_turn:
            _HERE.has_turn = False
            _TURN.release()


def wait_for_turn(pixels: int) -> float:
    """Waits until no other worker reads a large picture, if this is a worker with a large one; gives the seconds."""
    clock: Clock | None = getattr(_HERE, "clock", None)
    if clock is None or pixels <= LARGE or _HERE.has_turn:
        return 0.0
    begin = time.monotonic()
    clock.pause()
    try:
        while not _HERE.has_turn and not clock.is_over() and time.monotonic() - begin < _LONGEST_WAIT:
            _HERE.has_turn = _TURN.acquire(timeout=_LOOK_AGAIN)
    finally:
        clock.resume()
    return time.monotonic() - begin
