"""Whether files can be written at a place, found out before the work that makes them."""

from __future__ import annotations

import os
from pathlib import Path

from vit_runtime.errors import OutputFileError


def check_takes_files(path: Path, elsewhere: str) -> None:
    """Looks whether the nearest folder that exists on the way to `path` takes files.

    Args:
        path: what is to be written, a file or a folder.
        elsewhere: what to do where it cannot be.

    Raises:
        OutputFileError: it does not.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputFileError(path, f"cannot be written ({folder} takes no files)", elsewhere)
