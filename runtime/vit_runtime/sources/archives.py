"""Tells archives from other files, and gives the pictures in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from vit_runtime.errors import ImageError
from vit_runtime.sources.members import Members
from vit_runtime.sources.source import Found, failure
from vit_runtime.sources.tar_headers import Plain
from vit_runtime.sources.tars import tar_pictures
from vit_runtime.sources.unpacking import (
    Budget,
    Machine,
    Unpacked,
    bzip2_machine,
    gzip_machine,
    xz_machine,
    zstd_machine,
)
from vit_runtime.sources.zips import zip_pictures

_ZIP_BEGINNINGS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_COMPRESSED: Final[dict[bytes, Callable[[], Machine]]] = {
    b"\x1f\x8b": gzip_machine,
    b"BZh": bzip2_machine,
    b"\xfd7zXZ\0": xz_machine,
    b"\x28\xb5\x2f\xfd": zstd_machine,
}
"""How compressed tar archives begin."""
_TAR_MARK: Final = slice(257, 262)
_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")


def is_archive(path: Path) -> bool:
    """Whether a regular file is an archive, by its suffix or first bytes."""
    if path.name.lower().endswith(_SUFFIXES):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:  # whoever reads it as a picture will say so
        return False
    return start.startswith((*_ZIP_BEGINNINGS, *_COMPRESSED)) or start[_TAR_MARK] == b"ustar"


def pictures_in(path: Path, most_bytes: int) -> Iterator[Found]:
    """Gives the pictures in a tar or zip archive one by one, in its order, as encoded bytes; writes nothing.

    What is an archive by its name may be another kind of archive by its first bytes, and these decide. An archive that
    is damaged or cut off gives what comes before, and one record. Links, devices and other special members are passed
    over. An archive in an archive is not opened.
    """
    members = Members(str(path), most_bytes)
    try:
        with path.open("rb") as file:
            yield from _pictures(file, members)
    except ImageError as error:
        yield Found(members.archive, b"", error.with_traceback(None))
    except OSError as error:
        yield failure(members.archive, f"cannot be read ({error.strerror or error})")


def _pictures(file: BinaryIO, members: Members) -> Iterator[Found]:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise ImageError(members.archive, "empty file")
    budget = Budget(members.archive, size)
    start = file.read(512)
    file.seek(0)
    for beginning, machine in _COMPRESSED.items():
        if start.startswith(beginning):
            return tar_pictures(Unpacked(members.archive, file.read, machine, budget), members)
    called_zip = members.archive.lower().endswith(".zip")  # such as one behind a program that unpacks it
    if start.startswith(_ZIP_BEGINNINGS) or (called_zip and start[_TAR_MARK] != b"ustar"):
        return zip_pictures(file, size, members, budget)
    return tar_pictures(Plain(file, size), members)
