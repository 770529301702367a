"""Pictures in tar and zip archives come out as they went in; an archive that lies or is damaged gives records.

Archives are written by Python's own `tarfile` and `zipfile`, which share no code with what reads them here.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import random
import stat
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.hostile.mutate import mutated

from vit_runtime.errors import ImageError
from vit_runtime.sources import unpacking
from vit_runtime.sources.finding import find
from vit_runtime.sources.source import WAITING, Found

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


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "deflate.zip", "stored.zip"])
def test_an_archive_that_is_cut_off(name: str, tmp_path: Path):
    contents = {f"{number}.jpg": random.Random(number).randbytes(300) for number in range(8)}
    content = ARCHIVES[name](contents)
    most = 0
    for length in range(1, len(content) - 1, 97):
        findings = found(content[:length], tmp_path, name)
        kept = pictures(findings, tmp_path / name)
        assert kept == dict(itertools.islice(contents.items(), len(kept)))
        most = max(most, len(kept))
        if len(kept) == len(contents):  # the cut is in the filling of zeros behind the archive's end
            assert len(findings) - len(kept) <= 1
        else:
            assert findings[-1].error is not None
            assert findings[-1].name == str(tmp_path / name)
            assert len(findings) == len(kept) + 1
    if name in ("a.tar", "a.tar.gz", "a.tar.xz"):
        assert most >= 5
    else:  # a zip file's directory is at its end, and bzip2 unpacks 900 kB at a time
        assert most in (0, len(contents))


def test_a_tar_archive_that_ends_between_members_is_cut_off(tmp_path: Path):
    content = tar_of({"a.jpg": b"a", "b.jpg": b"b"})[:1024]
    findings = found(content, tmp_path)
    assert pictures(findings, tmp_path / "archive") == {"a.jpg": b"a"}
    assert errors(findings, tmp_path / "archive") == [": is cut off"]


OUTSIDE = ("../a.jpg", "/etc/a.jpg", "b/../../a.jpg", "C:/a.jpg", "..\\a.jpg", "C:\\a.jpg", "\\\\server\\a.jpg")


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_names_that_lead_out_of_the_archive(make: Callable[[Contents], bytes], tmp_path: Path):
    contents = dict.fromkeys(OUTSIDE, b"content") | {"./good.jpg": b"good", "a/./b..jpg": b"b"}
    findings = found(make(contents), tmp_path)
    kept = pictures(findings, tmp_path / "archive")
    if make is zip_of:
        assert kept == {"good.jpg": b"good", "a/b..jpg": b"b"}
    else:  # on Unix a backslash is a letter, and a name that begins with a dot is hidden
        harmless = [name for name in OUTSIDE if "\\" in name and not name.startswith(".")]
        assert kept == dict.fromkeys(harmless, b"content") | {"good.jpg": b"good", "a/b..jpg": b"b"}
    failed = errors(findings, tmp_path / "archive")
    assert len(failed) == sum("/" in name or make is zip_of for name in OUTSIDE)
    assert all(error.endswith(": a name that leads out of the archive") for error in failed)
    assert list(tmp_path.iterdir()) == [tmp_path / "archive"]


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


def patched(content: bytes, name: bytes, *changes: tuple[int, int, str, int]) -> bytes:
    """A zip archive with changed numbers of a member: (place in its header, in the directory's entry, kind, value)."""
    data = bytearray(content)
    local, entry = data.find(name) - 30, data.rfind(name) - 46
    for in_local, in_entry, kind, value in changes:
        if in_local >= 0:
            struct.pack_into(f"<{kind}", data, local + in_local, value)
        struct.pack_into(f"<{kind}", data, entry + in_entry, value)
    return bytes(data)


LIES = {
    "encrypted": ((6, 8, "H", 1), "is encrypted; unpack the archive"),
    "strongly encrypted": ((6, 8, "H", 0x41), "is encrypted; unpack the archive"),
    "another method": ((8, 10, "H", 14), "is compressed by method 14, which is not read; unpack the archive"),
    "zstandard": ((8, 10, "H", 93), "cannot be unpacked ("),
    "a wrong checksum": ((14, 16, "L", 1), "is damaged (its size or checksum differs)"),
    "fewer bytes than there are": ((22, 24, "L", 100), "is damaged (its size or checksum differs)"),
    "more bytes than there are": ((22, 24, "L", 4000), "is damaged (its size or checksum differs)"),
    "too many bytes": ((22, 24, "L", 0xFFFF_FFFE), "has more than 1,048,576 bytes; scale it down first"),
    "less in the archive": ((18, 20, "L", 3), "is cut off"),
    "more than the archive": ((18, 20, "L", 100_000), "is cut off"),
    "another place": ((-1, 42, "L", 5), "is damaged (it is not where the directory says)"),
    "a place behind the end": ((-1, 42, "L", 0xFFFF_FFF0), "is damaged (it is not where the directory says)"),
    "a place nowhere": ((-1, 42, "L", 0xFFFF_FFFF), "is damaged (it is not where the directory says)"),
    "another member's place": ((-1, 42, "L", 0), "is damaged (its name differs from the directory's)"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_zip_member_that_lies_is_a_record_and_the_others_are_read(lie: str, tmp_path: Path):
    change, message = LIES[lie]
    content = zip_of({"a.jpg": b"a", "bad.jpg": b"flat " * 400, "c.jpg": b"c"})
    findings = found(patched(content, b"bad.jpg", change), tmp_path)
    assert pictures(findings, tmp_path / "archive") == {"a.jpg": b"a", "c.jpg": b"c"}
    assert [finding.name for finding in findings][1] == str(tmp_path / "archive" / "bad.jpg")
    assert errors(findings, tmp_path / "archive")[0].startswith(f"/bad.jpg: {message}")


def peak_of(search: Callable[[], object]) -> int:
    """Most bytes that Python takes at a time during a search."""
    tracemalloc.start()
    try:
        search()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def header(name: str, size: int, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    member.type = kind
    return member.tobuf(tarfile.GNU_FORMAT)


HUGE = 3 << 30


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_an_extended_header_takes_no_memory(kind: bytes, compress: Callable[[bytes], bytes], tmp_path: Path):
    """A few bytes that claim gigabytes; Python's own `tarfile` would read them all."""
    content = compress(tar_of({"a.jpg": b"a"})[:1024] + header("x", HUGE, kind) + bytes(30 << 20))
    findings: list[Found] = []
    assert peak_of(lambda: findings.extend(found(content, tmp_path))) < 4 << 20
    assert pictures(findings, tmp_path / "archive") == {"a.jpg": b"a"}
    assert errors(findings, tmp_path / "archive") == [f": has an extended header of {HUGE:,} bytes"]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_member_that_claims_more_than_there_is(compress: Callable[[bytes], bytes], tmp_path: Path):
    content = compress(header("a.jpg", HUGE, b"0") + b"little")
    findings: list[Found] = []
    assert peak_of(lambda: findings.extend(found(content, tmp_path, most_bytes=HUGE))) < 4 << 20
    assert errors(findings, tmp_path / "archive") == [": is cut off"]


@pytest.mark.parametrize("number", [b"\xff" * 12, b"99999999999\0", b"-0000000001\0", b"\x80" + b"\xff" * 11])
def test_sizes_that_no_member_has(number: bytes, tmp_path: Path):
    block = bytearray(header("notes.txt", 1, b"0"))
    block[124:136] = number
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    for compress in (bytes, gzip.compress):
        (error,) = errors(found(compress(bytes(block) + bytes(1024)), tmp_path), tmp_path / "archive")
        assert error in (": has a damaged header", ": is cut off")


@pytest.fixture
def small_allowance(monkeypatch: pytest.MonkeyPatch) -> int:
    """Archives may unpack to a MiB, and 200 times their size; in truth the allowance is a GiB."""
    monkeypatch.setattr(unpacking, "ALLOWANCE", 1 << 20)
    return 1 << 20


@pytest.mark.parametrize("compress", [lambda data: gzip.compress(data, 9), bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["notes.txt", "a.jpg"])
def test_a_bomb_in_a_tar_archive_ends(
    compress: Callable[[bytes], bytes], name: str, small_allowance: int, tmp_path: Path
):
    """What is skipped counts, too: nobody waits for terabytes of zeros to pass by."""
    zeros = 50 << 20
    content = compress(tar_of({"first.jpg": b"a"})[:1024] + header(name, HUGE, b"0") + bytes(zeros))
    assert small_allowance + 200 * len(content) < zeros
    findings: list[Found] = []
    assert peak_of(lambda: findings.extend(found(content, tmp_path))) < 16 << 20
    assert pictures(findings, tmp_path / "archive") == {"first.jpg": b"a"}
    assert errors(findings, tmp_path / "archive") == [
        ": unpacks to more than 0 GiB and 200 times its size; unpack it yourself, if you trust it"
    ]


@pytest.mark.usefixtures("small_allowance")
def test_a_zip_archive_whose_members_overlap_ends(tmp_path: Path):
    """Each entry of the directory leads to the same bytes (after Fifield, "A better zip bomb", 2019)."""
    kernel = zip_of({"a.jpg": bytes(MOST)})
    start = kernel.find(b"PK\x01\x02")
    entry = kernel[start : kernel.find(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5000, 5000, 5000 * len(entry), start, 0)
    content = kernel[:start] + 5000 * entry + end
    findings = found(content, tmp_path)
    kept = pictures(findings, tmp_path / "archive")
    assert 1 <= len(kept) <= 1 + 200 * len(content) // MOST < 5000
    assert errors(findings, tmp_path / "archive")[0].startswith(": unpacks to more than")


def test_a_dictionary_of_gigabytes_is_refused(tmp_path: Path):
    """Such an archive is legal, and a byte of its header makes liblzma take 3 GiB."""
    stream = bytearray(
        lzma.compress(tar_of({"a.jpg": b"a"}), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}])
    )
    assert stream[12:16] == b"\x02\x00\x21\x01"
    stream[16] = 39
    stream[20:24] = zlib.crc32(stream[12:20]).to_bytes(4, "little")
    (error,) = errors(found(bytes(stream), tmp_path), tmp_path / "archive")
    assert error == ": cannot be unpacked (Memory usage limit exceeded)"


def test_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All numbers that can be in 64-bit fields are."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    content = zip_of(PICTURES)
    assert b"PK\x06\x06" in content
    for data in (content, b"before" + content):
        assert pictures(found(data, tmp_path, "a.zip"), tmp_path / "a.zip") == PICTURES


@pytest.mark.parametrize("make", [tar_of, ARCHIVES["a.tar.gz"], ARCHIVES["stored.zip"]])
def test_memory_stays_flat(make: Callable[[Contents], bytes], tmp_path: Path):
    (tmp_path / "archive").write_bytes(make({f"{number}.jpg": bytes(20_000) for number in range(2000)}))
    count = 0

    def search() -> None:
        nonlocal count
        count = sum(1 for _ in find([str(tmp_path / "archive")]))

    assert peak_of(search) < 3 << 20  # 40 MB go by
    assert count == 2000


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


@pytest.mark.parametrize(
    "name", ["a.tar", "gnu.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "deflate.zip", "streamed.zip"]
)
def test_damaged_archives_give_pictures_or_our_errors(name: str, tmp_path: Path):
    """Members of a zip archive are whole or records; tar has no checksums, or one that comes last."""
    content = ARCHIVES[name](PICTURES | OTHERS)
    rng = random.Random(name)
    outcomes = {True: 0, False: 0}

    def search() -> None:
        for _ in range(300):
            damaged = bytearray(mutated(content, rng))
            if rng.random() < 0.5 and len(damaged) > 300:  # the end, too, where a zip file's directory is
                damaged[-rng.randrange(1, 300)] ^= 1 << rng.randrange(8)
            for finding in found(bytes(damaged), tmp_path, name):
                outcomes[finding.error is None] += 1
                assert isinstance(finding.error, ImageError | None)
                if finding.error is None and name.endswith(".zip"):
                    assert finding.source in PICTURES.values() or finding.source in OTHERS.values()

    assert peak_of(search) < 24 << 20
    assert outcomes[False] > 20
    assert outcomes[True] > 20 or name == "a.tar.bz2"  # it is a single block, which is whole or lost
