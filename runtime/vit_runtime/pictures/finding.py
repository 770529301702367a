"""Finds the pictures in folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vit_runtime.errors import ImageError
from vit_runtime.pictures.naming import counts_as_picture


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


def _is_picture(file: Path) -> bool:
    return counts_as_picture(file.name) and file.is_file()
