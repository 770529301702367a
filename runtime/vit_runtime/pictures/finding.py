"""Finds the pictures in folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vit_runtime.errors import ImageError
from vit_runtime.pictures.formats import PICTURE_SUFFIXES

OVERLAY_ENDING: Final = ".attention"
"""What the name of a photo with its attention map ends in, in front of the suffix."""


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The paths as they are, with folders replaced by the pictures directly in them, in order of name.

    Raises:
        ImageError: a folder holds no file with a picture's suffix.
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
    """Judges by the name; macOS leaves a hidden "._photo.jpg" without a picture beside each photo on a card."""
    if file.stem.endswith(OVERLAY_ENDING):  # what `vit-run attend` has drawn is no photo
        return False
    return file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".") and file.is_file()
