"""Lets one thread at a time read an open file or image, which may be among the pictures twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final


@dataclass(eq=False)
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: int = 0
    """Threads that read, or wait for it."""


_TURNS: Final[dict[int, _Turn]] = {}
"""By the identity of what is read; only while it is read."""
_GUARD: Final = threading.Lock()


@contextmanager
def turn(source: object) -> Iterator[None]:
    """Waits until no other thread reads this very object.

    A file has one place from which it is read, and Pillow decodes an image where it lies when it is first asked for its
    pixels: two threads at once would get parts of each other's.
    """
    key = id(source)
    with _GUARD:
        mine = _TURNS.setdefault(key, _Turn())
        mine.wanted += 1
    try:
        with mine.lock:
            yield
    finally:
        with _GUARD:
            mine.wanted -= 1
            if not mine.wanted:
                del _TURNS[key]
