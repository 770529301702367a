"""Signals, killed programs and closed pipes: what was answered is there, and `--resume` does the rest, once."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.made_pictures import blots

Popen = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals to one process")

VIT_RUN = shutil.which("vit-run", path=str(Path(sys.executable).parent)) or "vit-run"
COUNT = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures, a tenth of them broken."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        path = folder / f"{number:03}.jpg"
        if number % 10 == 7:
            path.write_bytes(b"no picture")
        else:
            blots(number, (500, 400)).save(path)
    return folder


def everything(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir())]


def names_in(path: Path) -> list[str]:
    """The pictures of a file of answers; its last line must be whole."""
    content = path.read_bytes()
    assert content.endswith(b"\n")
    return names_of(content, path.suffix)


def names_so_far(path: Path) -> list[str]:
    """The pictures of a file that is being written, whose last line need not be whole."""
    return names_of(path.read_bytes().rpartition(b"\n")[0], path.suffix)


def names_of(content: bytes, suffix: str) -> list[str]:
    if suffix == ".jsonl":
        return [json.loads(line)["image"] for line in content.splitlines()]
    return [line.partition(b",")[0].decode() for line in content.splitlines()[1:]]


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    latest = time.monotonic() + 60
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < latest
        time.sleep(0.002)


def command(model: Path, folder: Path, target: Path, *options: str) -> list[str]:
    words = ["classify", model, folder, "-o", target, "--top", 1, *options]
    return [VIT_RUN, *map(str, words)]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_command_that_is_told_to_end_finishes_what_it_has_begun(
    number: int, status: int, suffix: str, interruptible_popen: Popen, tiny_artifact: Path, folder: Path, tmp_path: Path
):
    target = tmp_path / f"classes{suffix}"
    process = interruptible_popen(command(tiny_artifact, folder, target))
    wait_until(lambda: target.exists() and target.stat().st_size > 2_000, process)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, "")
    kept = names_in(target)
    assert kept == everything(folder)[: len(kept)]
    assert 0 < len(kept) < COUNT
    assert errors.splitlines()[-2:] == [f"{target}: {len(kept)} records", f"stopped after {len(kept)} pictures"]

    rest = subprocess.run(
        command(tiny_artifact, folder, target, "--resume"), capture_output=True, text=True, timeout=120, check=False
    )
    assert rest.returncode == 1  # a tenth of the pictures are broken
    assert names_in(target) == everything(folder)
    told = f"{target}: {COUNT} records, {len(kept)} of them from before"
    assert rest.stderr.splitlines()[-1] == told


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_killed_at_any_moment_and_gone_on_with(suffix: str, tiny_artifact: Path, folder: Path, tmp_path: Path):
    """Again and again, until all is done: nothing is lost, and nothing is there twice."""
    target, rng = tmp_path / f"classes{suffix}", random.Random(suffix)
    cuts = 0
    for _ in range(100):
        process = subprocess.Popen(
            command(tiny_artifact, folder, target, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        size, more = (target.stat().st_size if target.exists() else 0), rng.randrange(500, 8_000)
        latest = time.monotonic() + 60
        while process.poll() is None and not (target.exists() and target.stat().st_size > size + more):
            assert time.monotonic() < latest
            time.sleep(rng.random() * 0.004)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        cuts += 1
    assert process.returncode in (0, 1)  # a tenth of the pictures are broken; of the last ones perhaps none
    assert cuts >= 3
    assert names_in(target) == everything(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name, f"{target.name}.job"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_who_asks_twice_does_not_wait(
    number: int, status: int, interruptible_popen: Popen, tiny_artifact: Path, folder: Path, tmp_path: Path
):
    """For a pipe, which nobody writes to, it would be half a minute."""
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    target = tmp_path / "classes.jsonl"
    words = [VIT_RUN, "classify", str(tiny_artifact), str(folder), str(pipe), str(folder), "-o", str(target)]
    process = interruptible_popen(words)
    wait_until(lambda: target.exists() and len(names_so_far(target)) == COUNT, process)
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None  # it waits for what is in the works
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    told = "interrupted" if number == signal.SIGINT else "ended"
    assert errors.splitlines()[-2:] == [f"{target}: {COUNT} records", told]
    assert names_in(target) == everything(folder)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_single_picture_is_nothing_to_finish(
    number: int, status: int, interruptible_popen: Popen, tiny_artifact: Path, tmp_path: Path
):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    process = interruptible_popen([VIT_RUN, "embed", str(tiny_artifact), str(pipe), "-o", str(tmp_path / "x.npy")])
    assert "CPUExecutionProvider" in process.stderr.readline()
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, process)  # the place of the array to come
    time.sleep(0.5)  # until then the system would end the command, as it ends a program that has not begun
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status
    assert len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_was_started_deaf_to_ctrl_c_stays_so(tiny_artifact: Path, folder: Path, tmp_path: Path):
    """A shell starts its jobs in the background so; a Ctrl-C is meant for the one in front."""
    target = tmp_path / "classes.jsonl"
    words = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command(tiny_artifact, folder, target)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: target.exists() and target.stat().st_size > 2_000, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1  # of the broken pictures
    assert names_in(target) == everything(folder)


@pytest.mark.parametrize("options", [("classify",), ("classify", "--json"), ("embed",)], ids=" ".join)
def test_a_reader_that_has_seen_enough(options: tuple[str, ...], tiny_artifact: Path, folder: Path):
    first, *others = options
    words = [VIT_RUN, first, str(tiny_artifact), str(folder), *others]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "000.jpg" in process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode in (0, 1, 141)
    for word in ("Traceback", "Exception ignored", "bug in vit-edge", "BrokenPipe"):
        assert word not in errors


@pytest.fixture
def live(tiny_artifact: Path, interruptible_popen: Popen) -> Iterator[subprocess.Popen[str]]:
    words = [VIT_RUN, "classify", str(tiny_artifact), "-", "--json", "--top", "1"]
    with interruptible_popen(words, stdin=subprocess.PIPE, bufsize=1) as process:
        yield process
        process.kill()


def ask(process: subprocess.Popen[str], path: str) -> dict[str, Any]:
    """Writes a path, and waits for its answer; the next path is not written before."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    readable, _, _ = select.select([process.stdout], [], [], 60)
    assert readable, "no answer"
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def test_each_path_on_stdin_is_answered_as_it_comes(live: subprocess.Popen[str], folder: Path):
    for path in everything(folder)[:20]:
        answer = ask(live, path)
        assert answer["image"] == path
        assert ("error" in answer) == path.endswith("7.jpg")
    out, _ = live.communicate(timeout=60)
    assert (live.returncode, out) == (1, "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_command_that_waits_for_stdin_ends_when_it_is_told_to(
    number: int, status: int, live: subprocess.Popen[str], folder: Path
):
    ask(live, everything(folder)[0])
    live.send_signal(number)
    assert live.wait(timeout=30) == status
    assert live.stderr is not None
    assert live.stderr.read().splitlines()[-1] == "stopped after 1 picture"
