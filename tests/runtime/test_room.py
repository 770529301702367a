"""Memory and disk that are short: one line that says what is needed, before anything is ended or half-written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import vit_runtime as vit
from vit_runtime.devices import room
from vit_runtime.devices.machine import memory_to_have

Run = Callable[..., Any]
Laid = Callable[[Mapping[str, str]], Path]

V2 = "28 24 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
V1 = "36 25 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
MEGABYTE = 10**6
VIT_RUN = shutil.which("vit-run", path=str(Path(sys.executable).parent)) or "vit-run"


@pytest.fixture
def laid(tmp_path: Path) -> Laid:
    """`laid({path: text})` is a folder with the files of a Linux system that has 1,024,000,000 bytes to give."""

    def run(files: Mapping[str, str]) -> Path:
        for name, text in {"proc/meminfo": "MemAvailable: 1000000 kB\nSwapFree: 0 kB", **files}.items():
            (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return run


def test_what_the_system_can_give_counts_with_its_swap(laid: Laid):
    assert memory_to_have(laid({})) == 1_024_000_000
    assert memory_to_have(laid({"proc/meminfo": "MemAvailable: 1000 kB\nSwapFree: 500 kB"})) == 1_536_000
    assert memory_to_have(laid({"proc/meminfo": "MemTotal: 1000 kB"})) is None


def test_a_group_of_version_2_gives_what_its_limit_leaves(laid: Laid):
    group = "sys/fs/cgroup/system.slice/vit.service"
    files = {
        "proc/self/cgroup": "0::/system.slice/vit.service",
        "proc/self/mountinfo": V2,
        f"{group}/memory.max": str(256 * MEGABYTE),
        f"{group}/memory.stat": f"anon {40 * MEGABYTE}\nfile {150 * MEGABYTE}",
        "sys/fs/cgroup/system.slice/memory.max": "max",
    }
    assert memory_to_have(laid(files)) == 216 * MEGABYTE  # files make room
    files["sys/fs/cgroup/system.slice/memory.max"] = str(100 * MEGABYTE)
    files["sys/fs/cgroup/system.slice/memory.stat"] = f"anon {90 * MEGABYTE}"
    assert memory_to_have(laid(files)) == 10 * MEGABYTE


def test_so_does_one_of_version_1(laid: Laid):
    group = "sys/fs/cgroup/memory/docker/abc"
    files = {
        "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu:/docker/abc",
        "proc/self/mountinfo": V1,
        f"{group}/memory.limit_in_bytes": str(128 * MEGABYTE),
        f"{group}/memory.stat": f"cache 5\nrss 7\ntotal_rss {28 * MEGABYTE}",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    assert memory_to_have(laid(files)) == 100 * MEGABYTE


def test_too_little_memory_is_one_line(vit_run: Run, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "memory_to_have", lambda: 12 * MEGABYTE)
    result = vit_run("check", tiny_artifact)
    needed = int(1.02 * tiny_artifact.stat().st_size + 25 * MEGABYTE) // MEGABYTE
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {tiny_artifact}: needs {needed} MB of memory to load, and 12 MB are free; "
        "close other programs, add swap, or export it in int8\n"
    )


def test_a_prepared_copy_needs_no_more_than_there_is(
    tiny_artifact: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    vit.prepare(tiny_artifact)
    monkeypatch.setattr(room, "memory_to_have", lambda: 12 * MEGABYTE)
    assert vit.load(tiny_artifact).prepared_copy is not None
    monkeypatch.setenv("VIT_EDGE_CACHE", str(own_cache.with_name("other")))
    with pytest.raises(vit.ProviderError, match="MB of memory to prepare, and 12 MB are free"):
        vit.prepare(tiny_artifact)


def test_a_system_that_does_not_tell_refuses_nothing(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "memory_to_have", lambda: None)
    assert vit.load(tiny_artifact).provider == "CPUExecutionProvider"


# A disk that takes no more.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("megabytes", "workers"), [(None, 4), (10_000, 4), (480, 4), (479, 3), (250, 2), (130, 1), (5, 1)]
)
def test_as_many_pictures_are_worked_on_as_have_memory(
    megabytes: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "memory_to_have", lambda: None if megabytes is None else megabytes * MEGABYTE)
    assert room.workers_with_room(4) == workers


def test_short_memory_means_fewer_pictures_at_a_time(
    vit_run: Run, tiny_artifact: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "memory_to_have", lambda: 200 * MEGABYTE)
    done = vit_run("classify", tiny_artifact, photo, photo, "--threads", 2)
    assert (done.exit_code, done.stdout.count("%")) == (0, 2 * 5)
    assert "memory is short: 1 picture at a time" in done.stderr


@pytest.mark.parametrize("command", [["info"], ["check", "--json"], ["classify", "--json"]])
def test_an_answer_that_finds_no_room_is_one_line(command: list[str], tiny_artifact: Path, photo: Path):
    first, *options = command
    pictures = [photo] if first == "classify" else []
    program = [VIT_RUN, first, tiny_artifact, *pictures, *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last == "error: no more can be written (No space left on device); free some room, or write elsewhere"
    assert "bug" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="memory that stands for a file is Linux's")
def test_devices_are_tried_where_no_folder_takes_files(vit_run: Run, monkeypatch: pytest.MonkeyPatch):
    """As in a container with a read-only root."""

    def none_is_usable(**_: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", none_is_usable)
    result = vit_run("devices")
    assert result.exit_code == 0
    assert re.search(r"^cpu .* works$", result.stdout, re.MULTILINE)
