"""One writer at a time in an index."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vit_runtime.errors import OutputFileError
from vit_runtime.files import blame
from vit_runtime.searching.layout import LOCK_FILE
from vit_runtime.searching.storage import open_to_write


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds an index for writing. The system gives it back, even for a process that is killed.

    Raises:
        OutputFileError: another process, or another writer in this one, holds it; or the folder takes no files.
    """
    with blame(folder, "choose another place"):
        file = open_to_write(folder / LOCK_FILE)
    with file:
        try:
            _lock(file)
        except OSError as error:
            raise OutputFileError(folder, "another process writes to it", "wait until that one has ended") from error
        yield


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
