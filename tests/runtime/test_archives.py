"""Pictures in tar and zip archives come out as they went in.

Archives are written by Python's own `tarfile` and `zipfile`, which share no code with what reads them here.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.made_archives import (
    ARCHIVES,
    OTHERS,
    PICTURES,
    Contents,
    errors,
    found,
    pictures,
    tar_of,
    zip_of,
)

from vit_runtime.sources.finding import find
from vit_runtime.sources.source import Found


@pytest.mark.parametrize("name", ARCHIVES)
def test_pictures_come_out_as_they_went_in(name: str, tmp_path: Path):
    content = ARCHIVES[name](dict(itertools.chain(*zip(PICTURES.items(), OTHERS.items(), strict=False))) | OTHERS)
    findings = found(content, tmp_path, name)
    assert errors(findings, tmp_path / name) == []
    assert pictures(findings, tmp_path / name) == PICTURES
    assert [finding.name for finding in findings] == [f"{tmp_path / name}/{picture}" for picture in PICTURES]


def test_old_tar_archives(tmp_path: Path):
    """USTAR's long names lie in two fields; the oldest format has no mark at all and folders that end with a slash."""
    contents = {"x" * 90 + "/" + "y" * 60 + ".jpg": b"long", "b.jpg": b"short"}
    archive = tar_of(contents, form=tarfile.USTAR_FORMAT)
    assert pictures(found(archive, tmp_path, "a.tar"), tmp_path / "a.tar") == contents
    blocks = bytearray(tar_of({"folder.jpg/": b"", "b.jpg": b"short"}, form=tarfile.USTAR_FORMAT))
    for start in (0, 512):
        blocks[start + 156] = 0
        blocks[start + 257 : start + 512] = bytes(255)
        blocks[start + 148 : start + 156] = b" " * 8
        blocks[start + 148 : start + 156] = b"%06o\0 " % sum(blocks[start : start + 512])
    assert pictures(found(bytes(blocks), tmp_path, "a.tar"), tmp_path / "a.tar") == {"b.jpg": b"short"}


def test_compressed_archives_in_several_pieces(tmp_path: Path):
    """As pigz, `xz -T` and tapes leave them: several streams one after the other, and zeros behind the last."""
    archive = tar_of(PICTURES)
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        content = compress(archive[:1000]) + compress(archive[1000:]) + bytes(1024)
        assert pictures(found(content, tmp_path), tmp_path / "archive") == PICTURES


def zstandard(content: bytes) -> bytes:
    """A frame of blocks that are stored as they are (RFC 8878, sections 3.1.1 and 3.1.1.2)."""
    blocks = [content[start : start + (1 << 17)] for start in range(0, len(content), 1 << 17)]
    heads = [(len(block) << 3).to_bytes(3, "little") for block in blocks[:-1]]
    heads.append((len(blocks[-1]) << 3 | 1).to_bytes(3, "little"))  # the last one
    frame = b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little")
    return frame + b"".join(itertools.chain(*zip(heads, blocks, strict=True)))


def test_zstandard_where_python_has_it(tmp_path: Path):
    findings = found(zstandard(tar_of(PICTURES)), tmp_path, "a.tar.zst")
    if sys.version_info >= (3, 14):
        assert pictures(findings, tmp_path / "a.tar.zst") == PICTURES
    else:
        expected = [": cannot be unpacked (Python reads Zstandard from version 3.14 on)"]
        assert errors(findings, tmp_path / "a.tar.zst") == expected


def test_a_picture_keeps_a_picture_s_suffix_whatever_it_holds(tmp_path: Path):
    (path := tmp_path / "a.jpg").write_bytes(zip_of(PICTURES))
    assert list(find([str(path)])) == [Found(str(path), path)]


def test_archives_in_folders_are_not_opened(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(zip_of(PICTURES))
    (tmp_path / "b.jpg").touch()
    assert list(find([str(tmp_path)])) == [Found(str(tmp_path / "b.jpg"), tmp_path / "b.jpg")]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_without_pictures(name: str, tmp_path: Path):
    expected = [": an archive without pictures; give one with .jpg or .png files in it"]
    assert errors(found(ARCHIVES[name](OTHERS), tmp_path, name), tmp_path / name) == expected


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_an_empty_file_that_is_called_an_archive(name: str, tmp_path: Path):
    assert errors(found(b"", tmp_path, name), tmp_path / name) == [": empty file"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_members_of_the_same_name_are_all_answered(form: str, tmp_path: Path):
    file = io.BytesIO()
    if form == "tar":
        with tarfile.open(fileobj=file, mode="w") as archive:
            for content in (b"1", b"22", b"333"):
                member = tarfile.TarInfo("a.jpg")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        with zipfile.ZipFile(file, "w") as zipped:
            for content in (b"1", b"22", b"333"):
                zipped.writestr("a.jpg", content)
    kept = pictures(found(file.getvalue(), tmp_path), tmp_path / "archive")
    assert kept == {"a.jpg": b"1", "a.jpg#2": b"22", "a.jpg#3": b"333"}


def test_names_that_are_no_text_or_too_long(tmp_path: Path):
    archive = tmp_path / "archive"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for name in ("\xff\x1b[2J.jpg", "x" * 5000 + ".jpg"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"a"))
    findings = found(file.getvalue(), tmp_path)
    assert pictures(findings, archive) == {"\\xff\x1b[2J.jpg": b"a"}
    assert errors(findings, archive) == [f"/{'x' * 100}...: a name of 5,004 characters"]
    content = zip_of({"ABCD.jpg": b"a"})
    assert set(pictures(found(content.replace(b"ABCD", b"\x82a\\b"), tmp_path), archive)) == {"éa/b.jpg"}  # DOS's é
    assert set(pictures(found(content.replace(b"ABCD", "éß".encode()), tmp_path), archive)) == {"éß.jpg"}


def test_links_devices_and_folders_in_a_tar_archive_are_passed_over(tmp_path: Path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, kind in enumerate(
            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
        ):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.type = kind
            member.linkname = "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("a.jpg")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"a"))
    assert pictures(found(file.getvalue(), tmp_path), tmp_path / "archive") == {"a.jpg": b"a"}


def test_links_and_folders_in_a_zip_archive_are_passed_over(tmp_path: Path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("folder.jpg/", b"")
        archive.writestr("a.jpg", b"a")
    assert pictures(found(file.getvalue(), tmp_path), tmp_path / "archive") == {"a.jpg": b"a"}


def sparse_tar(tmp_path: Path, form: str) -> bytes:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "sparse.jpg").open("wb") as file:
        for place in range(0, 30 << 16, 1 << 16):  # more pieces than fit into a header
            file.seek(place)
            file.write(b"piece")
        file.truncate(4 << 20)
    (tmp_path / "in" / "whole.jpg").write_bytes(b"whole")
    command = [
        "tar",
        "-S",
        f"--format={form}",
        "-C",
        tmp_path / "in",
        "-cf",
        tmp_path / "a.tar",
        "sparse.jpg",
        "whole.jpg",
    ]
    subprocess.run(command, check=True)
    return (tmp_path / "a.tar").read_bytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs GNU tar")
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_sparse_files_are_records(form: str, tmp_path: Path):
    findings = found(sparse_tar(tmp_path, form), tmp_path, "a.tar")
    assert pictures(findings, tmp_path / "a.tar") == {"whole.jpg": b"whole"}
    expected = ["/sparse.jpg: is stored as a sparse file, which is not read; unpack the archive"]
    assert errors(findings, tmp_path / "a.tar") == expected


@pytest.mark.parametrize("make", [tar_of, zip_of, ARCHIVES["stored.zip"], ARCHIVES["a.tar.gz"]])
def test_pictures_with_too_many_bytes_and_with_none(make: Callable[[Contents], bytes], tmp_path: Path):
    contents = {"a.jpg": b"a" * 1000, "b.jpg": b"b" * 1001, "c.jpg": b"", "d.jpg": b"d", "e.txt": b"e" * 5000}
    findings = found(make(contents), tmp_path, most_bytes=1000)
    assert pictures(findings, tmp_path / "archive") == {"a.jpg": b"a" * 1000, "d.jpg": b"d"}
    expected = ["/b.jpg: has more than 1,000 bytes; scale it down first", "/c.jpg: empty"]
    assert errors(findings, tmp_path / "archive") == expected


def test_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All numbers that can be in 64-bit fields are."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    content = zip_of(PICTURES)
    assert b"PK\x06\x06" in content
    for data in (content, b"before" + content):
        assert pictures(found(data, tmp_path, "a.zip"), tmp_path / "a.zip") == PICTURES


def test_the_file_is_closed_when_the_search_is_given_up(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(tar_of(PICTURES))
    findings = find([str(tmp_path / "a.tar")])
    next(findings)
    assert isinstance(findings, Iterator)
    findings.close()  # type: ignore[attr-defined] - what is left open would be a warning, and so an error


def test_an_archive_that_vanishes_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (path := tmp_path / "a.zip").write_bytes(zip_of(PICTURES))
    opened = Path.open

    def fail(self: Path, *args: object) -> object:
        if self == path:
            raise OSError(5, "Input/output error")
        return opened(self, *args)

    monkeypatch.setattr(Path, "open", fail)
    (finding,) = find([str(path)])
    assert isinstance(finding, Found)
    assert str(finding.error) == f"{path}: cannot be read (Input/output error)"
