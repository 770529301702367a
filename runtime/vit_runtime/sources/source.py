"""What a search for pictures gives: a picture, the reason why there is none, or the word that nothing is there yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


def failure(name: str, what: str, remedy: str = "") -> Found:
    """The record of something that gives no picture."""
    return Found(name, b"", ImageError(name, what, remedy))
