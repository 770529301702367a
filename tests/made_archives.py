"""Archives for tests, written by Python's own `tarfile` and `zipfile`, and what is found in them."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from vit_runtime.sources.finding import find
from vit_runtime.sources.source import Found
from vit_runtime.waiting import WAITING

MOST = 1 << 20
Contents = Mapping[str, bytes]

PICTURES = {
    "b.jpg": random.Random(1).randbytes(700),
    "holiday/a.PNG": b"flat " * 400,
    "holiday/" + "deep/" * 30 + "name of more than a hundred characters.webp": random.Random(2).randbytes(512),
    "犬/café.gif": random.Random(3).randbytes(1),
}
"""Three of their sizes are next to a whole block of tar's."""
OTHERS = {
    "notes.txt": b"notes",
    ".hidden.jpg": b"hidden",
    ".thumbs/a.jpg": b"hidden, too",
    "__MACOSX/._b.jpg": b"what macOS adds",
    "__MACOSX/b.jpg": b"what macOS adds",
    "b.attention.png": b"an overlay",
    "inner.zip": b"PK\x03\x04",
}


def tar_of(contents: Contents, *, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=form) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zip_of(contents: Contents, *, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.comment = comment
    return file.getvalue()


def streamed_zip_of(contents: Contents) -> bytes:
    """Written into a pipe: sizes stand behind each member, and everything has 64-bit fields."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    file = Pipe()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    return file.getvalue()


ARCHIVES: dict[str, Callable[[Contents], bytes]] = {
    "a.tar": tar_of,
    "gnu.tar": lambda contents: tar_of(contents, form=tarfile.GNU_FORMAT),
    "a.tar.gz": lambda contents: tar_of(contents, mode="w:gz"),
    "a.tgz": lambda contents: tar_of(contents, mode="w:gz", form=tarfile.GNU_FORMAT),
    "a.tar.bz2": lambda contents: tar_of(contents, mode="w:bz2"),
    "a.tar.xz": lambda contents: tar_of(contents, mode="w:xz"),
    "deflate.zip": zip_of,
    "stored.zip": lambda contents: zip_of(contents, method=zipfile.ZIP_STORED),
    "bzip2.zip": lambda contents: zip_of(contents, method=zipfile.ZIP_BZIP2),
    "streamed.zip": streamed_zip_of,
    "comment.zip": lambda contents: zip_of(contents, comment=b"a comment"),
    "behind_a_program.zip": lambda contents: b"#!/bin/sh\n" * 100 + zip_of(contents),
    "a.tar_without_suffix": tar_of,
    "zip_without_suffix": zip_of,
    "gzip_without_suffix": lambda contents: tar_of(contents, mode="w:gz"),
    "a_tar_in_truth.zip": tar_of,
    "a_zip_in_truth.tar": zip_of,
    "a_plain_tar_in_truth.tar.gz": tar_of,
}


def found(content: bytes | Path, folder: Path, name: str = "archive", *, most_bytes: int = MOST) -> list[Found]:
    """What is found in an archive of this content, or in one that is there already."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    findings = [finding for finding in find([str(path)], most_bytes=most_bytes) if finding is not WAITING]
    for finding in findings:
        assert finding.name.startswith(str(path))
        assert isinstance(finding.source, bytes)
        assert (finding.error is None) == (finding.source != b"")
        if finding.error is not None:
            assert str(finding.error).startswith(" ".join(finding.name.split()))
            assert len(str(finding.error).splitlines()) == 1
    assert len({finding.name for finding in findings}) == len(findings)
    return findings


def pictures(findings: list[Found], archive: Path) -> dict[str, bytes]:
    return {
        finding.name.removeprefix(f"{archive}/"): finding.source
        for finding in findings
        if finding.error is None and isinstance(finding.source, bytes)
    }


def errors(findings: list[Found], archive: Path) -> list[str]:
    return [str(finding.error).removeprefix(str(archive)) for finding in findings if finding.error is not None]


def peak_of(search: Callable[[], object]) -> int:
    """Most bytes that Python takes at a time during a search."""
    tracemalloc.start()
    try:
        search()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
