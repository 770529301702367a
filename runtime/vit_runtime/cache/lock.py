"""One process at a time in a folder of the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where two processes at once may make the same twice
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until no other process holds a folder, and holds it.

    Raises:
        OSError: the folder takes no files.
    """
    with (folder / ".lock").open("wb") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)  # the system gives it back, even for a process that crashes
        yield
