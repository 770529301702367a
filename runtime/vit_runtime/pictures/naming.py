"""Tells by a file's name whether it counts as a picture where nobody has named it by itself."""

from __future__ import annotations

from typing import Final

from vit_runtime.pictures.formats import PICTURE_SUFFIXES

OVERLAY_ENDING: Final = ".attention"
"""End of the name, before the suffix, of a picture that shows an attention map."""


def counts_as_picture(name: str) -> bool:
    """Whether a file counts as a picture, judged by its name without folders.

    Hidden files do not: macOS leaves a hidden "._photo.jpg", which is no picture, beside each photo on a card. Nor does
    what `vit-run attend` has drawn.
    """
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() in PICTURE_SUFFIXES and not name.startswith(".") and not stem.endswith(OVERLAY_ENDING)
