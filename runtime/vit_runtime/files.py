"""Pictures in folders, and results that appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from vit_runtime.errors import ImageError, OutputFileError


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The paths as they are, with folders replaced by the pictures directly in them, in order of name.

    Raises:
        ImageError: a folder holds no file with a picture's suffix.
    """
    suffixes = Image.registered_extensions()
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and file.is_file())
        if not pictures:
            raise ImageError(path, "a folder without pictures", "give a folder with .jpg or .png files in it")
        found.extend(pictures)
    return found


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` when the block ends well, and leaves nothing when it does not.

    Raises:
        OutputFileError: the folder does not exist, may not be written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:  # one of our own errors, complete as it is
            raise
        raise OutputFileError(path, f"cannot be written ({error.strerror})", "choose another place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
