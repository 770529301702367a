"""An archive that lies, is damaged or cut off, or would unpack without end, gives what is sound in it, and records."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.hostile.mutate import mutated
from tests.made_archives import (
    ARCHIVES,
    MOST,
    OTHERS,
    PICTURES,
    Contents,
    errors,
    found,
    peak_of,
    pictures,
    tar_of,
    zip_of,
)

from vit_runtime.errors import ImageError
from vit_runtime.sources import unpacking
from vit_runtime.sources.finding import find
from vit_runtime.sources.source import Found


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


@pytest.mark.parametrize("make", [tar_of, ARCHIVES["a.tar.gz"], ARCHIVES["stored.zip"]])
def test_memory_stays_flat(make: Callable[[Contents], bytes], tmp_path: Path):
    (tmp_path / "archive").write_bytes(make({f"{number}.jpg": bytes(20_000) for number in range(2000)}))
    count = 0

    def search() -> None:
        nonlocal count
        count = sum(1 for _ in find([str(tmp_path / "archive")]))

    assert peak_of(search) < 3 << 20  # 40 MB go by
    assert count == 2000


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
