"""Paths are read from stdin as they come, and answers need not wait for the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from threading import Timer

import pytest

from vit_runtime.sources.finding import find
from vit_runtime.sources.lines import LONGEST
from vit_runtime.sources.source import Found
from vit_runtime.waiting import WAITING, Waiting


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")


def found(*paths: object, stdin: bytes | None = None) -> list[Found]:
    """All that is found; what is only waited for is left out."""
    stream = None if stdin is None else BytesIO(stdin)
    return [found for found in find(map(str, paths), stdin=stream) if found is not WAITING]


def errors(findings: list[Found]) -> list[str]:
    failed = [finding for finding in findings if finding.error is not None]
    assert all(finding.source == b"" for finding in failed)
    return [str(finding.error) for finding in failed]


LISTS = {
    "lines": b"a.jpg\nb b.jpg\n",
    "no end of line at the end": b"a.jpg\nb b.jpg",
    "as on Windows": b"a.jpg\r\nb b.jpg\r\n",
    "with empty lines": b"\n\na.jpg\n\r\n\nb b.jpg\n\n",
    "as find -print0": b"a.jpg\0b b.jpg\0",
    "as find -print0, without the last": b"a.jpg\0b b.jpg",
}


@pytest.mark.parametrize("case", LISTS)
def test_paths_from_stdin(case: str):
    assert [finding.name for finding in found("-", stdin=LISTS[case])] == ["a.jpg", "b b.jpg"]


def test_names_with_ends_of_lines_and_bytes_that_are_no_text():
    listed = b"a\nb.jpg\0\xff.jpg\0c\r\0"
    assert [os.fsencode(finding.name) for finding in found("-", stdin=listed)] == [b"a\nb.jpg", b"\xff.jpg", b"c\r"]
    assert [os.fsencode(finding.name) for finding in found("-", stdin=b"\xff.jpg\n")] == [b"\xff.jpg"]


def test_a_list_can_name_folders_and_no_patterns(tmp_path: Path):
    make_files(tmp_path, "a/1.jpg", "a/2.jpg", "-")
    listed = f"{tmp_path}/a\n{tmp_path}/a/*.jpg\n-\n".encode()
    findings = found(tmp_path / "a" / "2.jpg", "-", tmp_path / "a", stdin=listed)
    assert [Path(finding.name).name for finding in findings] == [
        "2.jpg",
        "1.jpg",
        "2.jpg",
        "*.jpg",
        "-",
        "1.jpg",
        "2.jpg",
    ]
    assert errors(findings) == []


def test_an_empty_list_gives_nothing():
    assert found("-", stdin=b"") == []


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_a_path_that_is_too_long_is_one_record(end: bytes):
    findings = found("-", stdin=b"a.jpg" + end + b"x" * (5 * LONGEST) + end + b"b.jpg" + end + b"y" * (3 * LONGEST))
    assert [finding.name for finding in findings] == ["a.jpg", "-", "b.jpg", "-"]
    assert errors(findings) == [f"-: a path of more than {LONGEST:,} bytes; give one path a line"] * 2


def test_a_stream_that_fails_is_one_record():
    class Broken(BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(size) or self.fail()

        def fail(self) -> bytes:
            raise OSError(5, "Input/output error")

    findings = [finding for finding in find(["-", "b.jpg"], stdin=Broken(b"a.jpg\n")) if finding is not WAITING]
    assert [finding.name for finding in findings] == ["a.jpg", "-", "b.jpg"]
    assert errors(findings) == ["-: cannot be read (Input/output error)"]


def test_stdin_that_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert errors(found("-")) == ["-: stdin is closed; pipe paths into the command"]


@pytest.fixture
def pipe() -> Iterator[tuple[Callable[[bytes], object], Iterator[Found | Waiting]]]:
    """What writes into a pipe, and what is found by reading paths from it."""
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as end:  # noqa: PTH123 - no paths
        yield end.write, find(["-"], stdin=stream)


def next_found(findings: Iterator[Found | Waiting]) -> Found | None:
    return next((finding for finding in findings if finding is not WAITING), None)


def test_each_picture_is_found_before_the_next_line_is_written(pipe):
    write, findings = pipe
    for number in range(20):
        assert next(findings) is WAITING
        write(f"{number}.jpg\n{number}".encode())  # the start of a next line, too
        assert next_found(findings) == Found(f"{number}.jpg", Path(f"{number}.jpg"))
        write(b"\r\n")
        assert next_found(findings) == Found(str(number), Path(str(number)))


def test_waiting_neither_blocks_nor_spins(pipe):
    write, findings = pipe
    started = time.monotonic()
    assert [next(findings) for _ in range(10)] == [WAITING] * 10
    assert 0.15 < time.monotonic() - started < 60
    write(b"\n" * 100_000)  # brings nothing either
    assert next(findings) is WAITING


def test_endless_empty_lines_do_not_hold_up_answers():
    class Endless(BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return b"\n" * (size or 1)

    findings = find(["-"], stdin=Endless())
    assert [next(findings) for _ in range(3)] == [WAITING] * 3


def test_a_process_can_end_while_its_stdin_is_open():
    """A thread that waits in Python's own buffer would make Python abort."""
    script = (
        "from vit_runtime.sources.finding import find\n"
        "from vit_runtime.waiting import WAITING\n"
        "print(next(found.name for found in find(['-']) if found is not WAITING))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"a.jpg\n")
        process.stdin.flush()
        killer = Timer(60, process.kill)
        killer.start()
        assert process.wait() == 0
        killer.cancel()
        assert process.stdout.read() == b"a.jpg\n"
        assert process.stderr.read() == b""
