"""What a search for pictures gives: a picture, the reason why there is none, or the word that nothing is there yet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vit_runtime.errors import ImageError


@dataclass(frozen=True)
class Found:
    """A picture that was found, or the reason why there is none.

    Attributes:
        name: what answers call it: "photos/a.jpg", "photos.zip/holiday/b.jpg".
        source: a path or encoded bytes, as `pictures.reading.read_rgb` takes them; empty bytes where there is an error.
        error: why there is no picture. A path without error can still be missing or damaged: nothing was opened yet.
    """

    name: str
    source: str | Path | bytes
    error: ImageError | None = None


class _Sign(Enum):
    WAITING = "nothing new at the moment"


Waiting: TypeAlias = Literal[_Sign.WAITING]
WAITING: Final = _Sign.WAITING
"""Nothing new at the moment; only live sources give it, every 20 ms, so that finished answers need not wait."""


def failure(name: str, what: str, remedy: str = "") -> Found:
    """The record of something that gives no picture."""
    return Found(name, b"", ImageError(name, what, remedy))
