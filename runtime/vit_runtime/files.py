"""Pictures in folders, and results that appear complete or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from vit_runtime.errors import ImageError, OutputFileError

PICTURE_SUFFIXES: Final = frozenset(
    (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
"""What counts as a picture in a folder; a file that is named itself may be called anything."""


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
    return file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".") and file.is_file()


@contextmanager
def staging_folder(destination: Path, remedy: str) -> Iterator[Path]:
    """A temporary folder beside a file's destination, to be moved from when the file is complete.

    A folder, not a file: what is made in it gets the permissions of any other new file.

    Args:
        destination: where the file will go.
        remedy: what to do where nothing can be written there.

    Raises:
        OutputFileError: the place does not exist, may not be written, or the disk is full.
    """
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".vit-edge.", dir=destination.parent))
        yield folder
    except OSError as error:
        if error.errno is None:  # one of our own errors, complete as it is
            raise
        raise OutputFileError(destination, f"cannot be written ({error.strerror})", remedy) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` when the block ends well, and leaves nothing when it does not.

    Raises:
        OutputFileError: the folder does not exist, may not be written, or the disk is full.
    """
    with staging_folder(path, "choose another place") as folder:
        with (folder / path.name).open("xb") as file:
            yield file
        (folder / path.name).replace(path)
