"""Prepared copies: a model file as onnxruntime's CPU provider wants it in memory, ready to be mapped.

onnxruntime optimises a graph and packs its weights for the processor's kernels each time a file is loaded, into memory
of its own. A copy holds the result. It is mapped: nothing is computed, the system reads what is used, several processes
share it, and it gives way when memory is short. It is about twice as large as the file, since onnxruntime wants the
plain weights, too, and belongs to one processor and one version of onnxruntime.

A record beside the copy says what it is made of. Size and time of change are compared at each start, the SHA-256 of
everything by `vit-run check`. As with the model file itself, this finds damage, not a forger.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_runtime.artifact import codec
from vit_runtime.cache.folder import COPIES, cache_folder, make_folder
from vit_runtime.cache.lock import locked
from vit_runtime.cache.trust import why_untrusted
from vit_runtime.errors import OutputFileError
from vit_runtime.files import blame, file_sha256, staging_folder

GRAPH: Final = "model.onnx"
WEIGHTS: Final = "model.onnx.data"
RECORD: Final = "record.json"
_FORMAT_VERSION: Final = 1
_LARGEST_RECORD: Final = 1 << 16
AGAIN: Final = "run vit-run prepare again"


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a copy belongs to, besides its model file."""

    processor: str
    """Its name and a checksum of its instruction sets."""
    onnxruntime: str
    """The version."""


@dataclass(frozen=True, kw_only=True)
class CopiedFile:
    """One of a copy's files as it was written."""

    name: str
    bytes: int
    modified_ns: int
    """Time of the last change, in nanoseconds since 1970."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CopyRecord:
    """What a copy was made of, and where."""

    format_version: int
    digest: str
    """The digest that the model file carries, in hexadecimal."""
    file: str
    """The model file's path then."""
    circumstances: Circumstances
    files: tuple[CopiedFile, ...]
    exact_int8: bool
    """Whether it was made for slower int8 kernels, since the fast ones of this processor saturate."""
    date: str
    """Day on which it was made: 2026-11-29."""

    def __post_init__(self) -> None:
        if self.format_version != _FORMAT_VERSION:
            raise ValueError(f"format_version {self.format_version}, should be {_FORMAT_VERSION}")
        if {file.name for file in self.files} != {GRAPH, WEIGHTS}:
            raise ValueError("it has other files")

    @property
    def bytes(self) -> int:
        """What the copy takes on the disk."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class FoundCopy:
    """What is known about a file's copy."""

    folder: Path | None
    """None where there is none that can be used."""
    note: str
    """Why there is none although one was made; else empty."""
    exact_int8: bool = False
    """Whether it wants slower int8 kernels, since the fast ones of this processor saturate."""

    @property
    def graph(self) -> Path | None:
        """The copy's ONNX file."""
        return None if self.folder is None else self.folder / GRAPH


NO_COPY: Final = FoundCopy(folder=None, note="")


def find_copy(digest: str, now: Circumstances, *, whole: bool = False) -> FoundCopy:
    """Finds the copy of a model file; nothing is raised for one that is damaged or out of date.

    Args:
        digest: the digest that the model file carries.
        now: this processor and this onnxruntime.
        whole: whether to read the whole copy and compare its SHA-256.
    """
    folder = _folder(digest, now)
    try:
        problem = why_untrusted(folder)
        if not problem:
            record = read_record(folder)
            problem = _difference(folder, record, digest, now) or (damage(folder) if whole else "")
    except (FileNotFoundError, NotADirectoryError):
        return NO_COPY
    except OSError as error:
        problem = f"{folder} cannot be read ({error.strerror})"
    except (ValueError, RecursionError):
        problem = f"its record is damaged; {AGAIN}"
    if problem:
        return FoundCopy(folder=None, note=f"its prepared copy is not used: {problem}")
    return FoundCopy(folder=folder, note="", exact_int8=record.exact_int8)


def read_record(folder: Path) -> CopyRecord:
    """Reads the record of the copy in a folder.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged, or of another version.
        RecursionError: it is damaged.
    """
    with (folder / RECORD).open("rb") as file:
        text = file.read(_LARGEST_RECORD)
    return codec.decode(CopyRecord, json.loads(text))


def damage(folder: Path) -> str:
    """Says which of a copy's files differs from its record by its SHA-256; empty where none does.

    Raises:
        OSError: a file cannot be read.
        ValueError: the record is damaged.
    """
    for file in read_record(folder).files:
        if file_sha256(folder / file.name) != file.sha256:
            return f"{file.name} is damaged; {AGAIN}"
    return ""


@contextlib.contextmanager
def making_copy(digest: str, now: Circumstances) -> Iterator[FoundCopy]:
    """Holds the place of a file's copy, so that one process at a time makes it; gives what is there and whole.

    Raises:
        OutputFileError: the cache folder takes no files, or others may write to it.
    """
    import shutil

    folder = _folder(digest, now)
    with contextlib.ExitStack() as held:
        with blame(folder, "name another folder by VIT_EDGE_CACHE"):
            make_folder(folder.parent)
            held.enter_context(locked(folder.parent))
            if problem := why_untrusted(folder.parent):
                raise OutputFileError(folder.parent, problem, "name a folder of your own by VIT_EDGE_CACHE")
            for left in folder.parent.glob(".vit-edge.*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
        yield find_copy(digest, now, whole=True)


def make_copy(
    digest: str, file: Path, now: Circumstances, write: Callable[[Path], bool], *, date: str
) -> tuple[Path, CopyRecord]:
    """Makes a file's copy under a temporary name and puts it into its place; gives its folder. Hold `making_copy`.

    Args:
        digest: the digest that the model file carries.
        file: the model file.
        now: this processor and this onnxruntime.
        write: makes `GRAPH` and `WEIGHTS` in a folder, and raises where they are not right. It says whether they want
            exact int8 kernels.
        date: today.

    Raises:
        OutputFileError: the cache folder takes no files, or the disk is full.
    """
    folder, remedy = _folder(digest, now), "free some room, or name another folder by VIT_EDGE_CACHE"
    with staging_folder(folder, remedy) as staging:
        new = staging / folder.name
        new.mkdir(mode=0o700)
        exact_int8 = write(new)
        with blame(folder, remedy):
            record = CopyRecord(
                format_version=_FORMAT_VERSION,
                digest=digest,
                file=str(file.absolute()),
                circumstances=now,
                files=tuple(_sealed(new / name) for name in (GRAPH, WEIGHTS)),
                exact_int8=exact_int8,
                date=date,
            )
            (new / RECORD).write_text(json.dumps(codec.encode(record), indent=1), encoding="utf-8")
            if folder.exists() or folder.is_symlink():
                folder.rename(staging / "old")  # a process that has mapped it keeps it until it ends
            new.rename(folder)
    return folder, record


def _sealed(path: Path) -> CopiedFile:
    """Brings a file to the disk, so that it is whole even after a power cut, and describes it."""
    path.chmod(0o600)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    status = path.stat()
    return CopiedFile(name=path.name, bytes=status.st_size, modified_ns=status.st_mtime_ns, sha256=file_sha256(path))


def _folder(digest: str, now: Circumstances) -> Path:
    """Each processor has a folder of its own, for cache folders that several machines share."""
    return cache_folder() / COPIES / digest[:32] / f"{zlib.crc32(now.processor.encode()):08x}"


def _difference(folder: Path, record: CopyRecord, digest: str, now: Circumstances) -> str:
    """Says what is not as it was when a copy was made; empty where all is."""
    then = record.circumstances
    if record.digest != digest:
        return f"it is another file's; {AGAIN}"
    if then.processor != now.processor:
        return f"it was made for another processor; {AGAIN}"
    if then.onnxruntime != now.onnxruntime:
        return f"onnxruntime was {then.onnxruntime} then and is {now.onnxruntime} now; {AGAIN}"
    for file in record.files:
        with contextlib.suppress(FileNotFoundError):
            status = (folder / file.name).stat()
            if (status.st_size, status.st_mtime_ns) == (file.bytes, file.modified_ns):
                continue
        return f"{file.name} is not as it was when it was made; {AGAIN}"
    return ""
