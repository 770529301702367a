"""Writes result files that appear complete or not at all."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from vit_runtime.errors import OutputFileError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BLOCK: Final = 1 << 20
"""Bytes that are read at a time."""


@contextmanager
def blame(destination: Path, remedy: str) -> Iterator[None]:
    """Turns an error of the system into one that names the file to be written; put only the writing inside.

    Raises:
        OutputFileError: replaces any `OSError` of the system that is raised inside.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of our own errors, complete as it is
            raise
        raise OutputFileError(destination, f"cannot be written ({error.strerror})", remedy) from error


@contextmanager
def staging_folder(destination: Path, remedy: str) -> Iterator[Path]:
    """Makes a temporary folder beside a file's destination; move the file out of it when the file is complete.

    It is a folder, so that a file made in it gets the permissions of any other new file.

    Args:
        destination: where the file will go.
        remedy: what to do where nothing can be written there.

    Raises:
        OutputFileError: the place does not exist, or may not be written to.
    """
    import shutil  # these two take 3 ms, which reading does without
    import tempfile

    with blame(destination, remedy):
        folder = Path(tempfile.mkdtemp(prefix=".vit-edge.", dir=destination.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class OutputFile(io.RawIOBase):
    """A new binary file whose errors name the place where it will go."""

    def __init__(self, path: Path, destination: Path, remedy: str) -> None:
        super().__init__()
        self.destination = destination
        self.remedy = remedy
        self._file: BinaryIO = io.BytesIO()  # Python closes what could not be opened too, and 3.13 tells of errors
        with blame(destination, remedy):
            self._file = path.open("xb")

    def writable(self) -> bool:
        """Says whether the file can be written to: always."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Appends all of `data`."""
        with blame(self.destination, self.remedy):
            return self._file.write(data)

    def tell(self) -> int:
        """Counts the bytes written so far."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Says whether one can go back: always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Goes to a place in the file."""
        return self._file.seek(offset, whence)

    def flush(self) -> None:
        """Hands the written bytes to the system."""
        if not self._file.closed:
            with blame(self.destination, self.remedy):
                self._file.flush()

    def close(self) -> None:
        """Writes what is left and closes the file."""
        with blame(self.destination, self.remedy):
            self._file.close()
        super().close()


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a binary file that appears at `path` when the block ends well; after an error nothing is left.

    Raises:
        OutputFileError: the folder does not exist or may not be written to, or the disk is full.
    """
    remedy = "choose another place"
    with staging_folder(path, remedy) as folder:
        with OutputFile(folder / path.name, path, remedy) as file:
            yield cast("BinaryIO", file)
        with blame(path, remedy):
            (folder / path.name).replace(path)


def file_sha256(path: Path, size: int | None = None) -> str:
    """Gives the SHA-256 of a file, or of its first `size` bytes, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    import hashlib  # loads OpenSSL, which few need

    found, left = hashlib.sha256(), sys.maxsize if size is None else size
    with path.open("rb") as file:
        while left and (block := file.read(min(left, _BLOCK))):
            found.update(block)
            left -= len(block)
    return found.hexdigest()
