"""Opens an index's files: regular ones only, of which no link leads elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from vit_runtime.errors import IndexFileError
from vit_runtime.files import blame
from vit_runtime.searching.layout import HEADER_BYTES, HEADER_FILE, REMEDY, Header, decode

_READ: Final = os.O_RDONLY
_WRITE: Final = os.O_RDWR | os.O_CREAT
# A pipe would be waited for, and through a link another file would be read or changed. Windows lacks these two.
_CAREFUL: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
ELSEWHERE: Final = "free some room, or choose another place"


def open_to_read(path: Path) -> BinaryIO:
    """Opens a file of an index.

    Raises:
        FileNotFoundError: there is none.
        IndexFileError: it is no regular file, or cannot be read.
    """
    try:
        return os.fdopen(_opened(path, _READ), "rb", buffering=0)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IndexFileError(path, f"cannot be read ({error.strerror})", REMEDY) from error


def open_to_write(path: Path) -> BinaryIO:
    """Opens a file of an index, or makes it; it keeps what it has.

    Raises:
        OSError: it cannot be written.
        IndexFileError: it is no regular file.
    """
    return os.fdopen(_opened(path, _WRITE), "r+b", buffering=0)


def write_at(path: Path, offset: int, data: bytes | bytearray) -> None:
    """Writes into a file of an index, and waits until the disk has it.

    Raises:
        OSError: it cannot be written.
        IndexFileError: it is no regular file.
    """
    with open_to_write(path) as file:
        file.seek(offset)
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())


def read_header(folder: Path) -> Header:
    """Reads an index's header.

    Raises:
        IndexFileError: there is none, or it is damaged.
    """
    try:
        with open_to_read(folder / HEADER_FILE) as file:
            content = file.read(HEADER_BYTES + 1)
    except FileNotFoundError:
        what = "no index: it has no index.json" if folder.is_dir() else "no such index"
        raise IndexFileError(folder, what, "make one with vit-run index") from None
    return decode(content, folder)


def write_header(folder: Path, header: Header) -> None:
    """Replaces an index's header at once; the files that it counts must be on the disk already.

    Raises:
        OutputFileError: it cannot be written; then the one before is still there.
    """
    new = folder / f"{HEADER_FILE}.new"
    with blame(folder, ELSEWHERE):
        new.unlink(missing_ok=True)
        write_at(new, 0, header.encode())
        new.replace(folder / HEADER_FILE)
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's new names, so that old files may be deleted. Windows cannot be asked to."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _opened(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | _CAREFUL, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise IndexFileError(path, "a link, which no file of an index may be", REMEDY) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IndexFileError(path, "no regular file", REMEDY)
    return descriptor
