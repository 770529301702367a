"""One of everything that means harm, through each command: an answer or one line each, in bounded memory and time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .commands import CONTROLS
from .gallery import PIXELS, hang_archives, hang_bombs, hang_files, sound
from .sampled import sample, start

MOST_BYTES = 700 << 20
"""Peak of a process; two pictures of nine megapixels at a time, and the model."""
MOST_SECONDS = 120
"""On a busy machine; a few are usual."""
LIMITS = ("--max-pixels", PIXELS, "--max-seconds", 1, "--max-bytes", 20_000_000)


@dataclass(frozen=True)
class Done:
    """What a command made of its pictures."""

    status: int
    lines: list[str]
    """Of stdout."""
    errors: list[str]
    """Of stderr, those that tell of one."""
    rest: list[str]
    peak: int


def done(words: Sequence[object], folder: Path, *, stdin: bytes = b"") -> Done:
    """Runs a command, watched; it must end by itself, and print nothing that a terminal obeys."""
    out, err = folder / "stdout", folder / "stderr"
    peak, latest = 0, time.monotonic() + MOST_SECONDS
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = start(words, stdout=stdout, stderr=stderr)
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        try:
            while process.poll() is None and time.monotonic() < latest:
                found = sample(process.pid)
                peak = peak if found is None else found.peak
                time.sleep(0.05)
            assert process.returncode is not None, "hangs"
        finally:
            process.kill()
            process.wait()
    printed, told = (path.read_text("utf-8", "surrogateescape") for path in (out, err))
    assert CONTROLS.findall(printed + told) == []
    lines = told.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return Done(process.returncode, printed.splitlines(), errors, [line for line in lines if line not in errors], peak)


def check_records(found: Done, messages: dict[str, str]) -> None:
    """Each picture once, with an answer or with its message."""
    records = {record["image"]: record for record in map(json.loads, found.lines)}
    assert len(records) == len(found.lines)
    assert sorted(map(ascii, records)) == sorted(map(ascii, messages))
    failed = {name for name, message in messages.items() if message}
    assert {name for name, record in records.items() if "error" in record} == failed
    assert {name for name in failed if messages[name] not in records[name]["error"]} == set()
    check_end(found, len(failed))


def check_end(found: Done, failed: int) -> None:
    assert (found.status, len(found.errors)) == (1, failed), found
    assert len(found.rest) == 1, found.rest  # what it runs on
    assert found.peak < MOST_BYTES


@pytest.mark.parametrize(("command", "decode"), [("classify", "exact"), ("embed", "fast")])
def test_hostile_files(command: str, decode: str, tiny_artifact: Path, folder: Path):
    (gallery := folder / "gallery").mkdir()
    messages = hang_files(gallery)
    before = sorted(path for path in folder.rglob("*"))
    how = ["--json"] if command == "classify" else []
    check_records(done([command, tiny_artifact, gallery, *how, "--decode", decode, *LIMITS], folder), messages)
    assert sorted(set(folder.rglob("*")) - set(before)) == [folder / "stderr", folder / "stdout"]


def test_hostile_files_in_an_index_and_beside_a_query(tiny_artifact: Path, folder: Path):
    (gallery := folder / "gallery").mkdir()
    (query := folder / "query").write_bytes(sound())
    messages = hang_files(gallery)
    failed = sum(map(bool, messages.values()))
    answered = len(messages) - failed
    found = done(["index", tiny_artifact, gallery, "-o", folder / "index", *LIMITS], folder)
    assert f"{answered} added, 0 updated, 0 dropped" in found.rest.pop()
    check_end(found, failed)
    top = ["--top", 100, *LIMITS, "--decode", "fast"]
    found = done(["similar", tiny_artifact, query, gallery, *top], folder)
    assert len(found.lines) == answered
    check_end(found, failed)
    found = done(["similar", tiny_artifact, query, "--index", folder / "index", *top], folder)
    assert (found.status, found.errors, len(found.lines)) == (0, [], answered)


@pytest.mark.parametrize("threads", [1, 4])
def test_hostile_archives(threads: int, tiny_artifact: Path, folder: Path):
    """A member that is lost takes no other with it, also where the search is far ahead of the answers or waits."""
    (gallery := folder / "gallery").mkdir()
    messages = hang_archives(gallery)
    words = ["classify", tiny_artifact, *sorted(gallery.iterdir()), "--json", "--threads", threads, *LIMITS]
    check_records(done(words, folder), messages)


def test_archives_that_would_unpack_without_end(tiny_artifact: Path, folder: Path):
    tar, overlapping = hang_bombs(folder)
    found = done(["classify", tiny_artifact, tar, overlapping, "--json", *LIMITS], folder)
    records = list(map(json.loads, found.lines))
    ends = [record["error"] for record in records if record["image"] in (str(tar), str(overlapping))]
    assert len(ends) == 2
    assert all("unpacks to more than 1 GiB and 200 times its size" in end for end in ends)
    assert records[0]["image"] == str(tar)
    assert 100 < len(records) < 1_000  # members of 8 MiB, each of them an error
    check_end(found, len(records))


def test_pipes_and_devices_that_are_named_by_themselves(tiny_artifact: Path, folder: Path):
    """Whoever names one means it: a pipe is waited for, no longer than the limit, and a device read, no further."""
    os.mkfifo(pipe := folder / "pipe")
    (photo := folder / "photo.png").write_bytes(sound())
    messages = {str(pipe): "takes longer to read than 1 s", "/dev/zero": "more than the 20,000,000 bytes"}
    messages |= {"/dev/null": "empty", str(photo): ""}
    listed = "\n".join(messages).encode()
    check_records(done(["classify", tiny_artifact, "-", "--json", *LIMITS], folder, stdin=listed), messages)


@pytest.mark.usefixtures("permissions_hold")
def test_folders_that_may_not_be_read(tiny_artifact: Path, folder: Path):
    (locked := folder / "gallery" / "locked").mkdir(parents=True)
    (folder / "gallery" / "photo.png").write_bytes(sound())
    (folder / "gallery" / "secret.png").write_bytes(sound())
    (folder / "gallery" / "secret.png").chmod(0)
    locked.chmod(0)
    denied = "cannot be read (Permission denied)"
    try:
        found = done(["classify", tiny_artifact, folder / "gallery", "--json"], folder)
    finally:
        locked.chmod(0o700)
    messages = {str(locked): denied, str(folder / "gallery" / "secret.png"): denied}
    check_records(found, messages | {str(folder / "gallery" / "photo.png"): ""})


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed_from_the_start(closed: str, tiny_artifact: Path, folder: Path):
    (folder / "photo.png").write_bytes(sound())
    command = [Path(sys.executable).with_name("vit-run"), "classify", tiny_artifact, folder / "photo.png", "-"]
    shell = f'"$@" {closed}'
    ran = subprocess.run(
        ["sh", "-c", shell, "sh", *command], input=b"", capture_output=True, timeout=MOST_SECONDS, check=False
    )
    assert ran.returncode in (0, 1)
    assert b"Traceback" not in ran.stderr
    assert b"bug in vit-edge" not in ran.stderr
    if closed == "0<&-":
        assert (ran.returncode, ran.stderr.count(b"error: -: "), ran.stdout.count(b"photo.png")) == (1, 1, 1)


def test_a_reader_that_goes_away_while_paths_still_come(tiny_artifact: Path, folder: Path):
    """As `head -1` behind the command, with a camera's list in front of it that never ends."""
    (photo := folder / "photo.png").write_bytes(sound())
    command = [Path(sys.executable).with_name("vit-run"), "classify", tiny_artifact, "-", "--json"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(list(map(str, command)), bufsize=0, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(f"{photo}\n".encode())
        assert b"predictions" in process.stdout.readline()
        process.stdout.close()
        process.stdin.write(f"{photo}\n".encode())
        assert process.wait(MOST_SECONDS) == 1  # though stdin is still open
        assert b"error" not in process.stderr.read()
