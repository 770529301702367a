"""Finds the pictures in folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vit_runtime.errors import ImageError
from vit_runtime.pictures.formats import PICTURE_SUFFIXES

OVERLAY_ENDING: Final = ".attention"
"""End of the name, before the suffix, of a picture that shows an attention map."""


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Replaces each folder by the pictures directly in it, in order of name; other paths stay as they are.

    Raises:
        ImageError: a folder holds no file with a picture's suffix, or cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        try:
            pictures = sorted(file for file in path.iterdir() if _is_picture(file)) if path.is_dir() else [path]
        except OSError as error:
            raise ImageError(path, f"cannot be read ({error.strerror})") from error
        if not pictures:
            raise ImageError(path, "a folder without pictures", "give a folder with .jpg or .png files in it")
        found.extend(pictures)
    return found


def pictures_below(folder: Path) -> list[Path]:
    """The pictures in a folder and in all folders below it that are not hidden, in order of path."""
    return sorted(
        file
        for file in folder.rglob("*")
        if _is_picture(file) and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _is_picture(file: Path) -> bool:
    """Whether a file counts as a picture, judged by its name.

    Hidden files do not: macOS leaves a hidden "._photo.jpg", which is no picture, beside each photo on a card.
    """
    if file.stem.endswith(OVERLAY_ENDING):  # what `vit-run attend` has drawn is no photo
        return False
    return file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".") and file.is_file()
