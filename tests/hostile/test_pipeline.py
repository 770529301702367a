"""Commands and the library over hostile places, hundreds in one process: answers and our errors, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PER_PROCESS = 1_000
SOME = pytest.param(0, 200, id="some")
ALL = [
    pytest.param(start, PER_PROCESS, id=f"from_{start}", marks=pytest.mark.slow) for start in range(1_000, 6_000, 1_000)
]
"""The first number, and how many: each stands for a place, a command and its options."""
SECONDS_EACH = 20
"""Most for a single one; a tenth of a second is usual, and a machine may be busy."""
SETTLED = 60
"""Commands after which memory must not grow any more; by then all that is imported late is there."""
MOST_GROWTH = 25 << 20
"""Bytes. A leaked picture has some kilobytes, one in twenty several megabytes; a leaked model has 2 MB."""
MOST_BLOCKS = 25
"""Python's own blocks that a command may leave behind: caches of the standard library."""
MOST_RESIDENT = 250 << 20


def run_pipeline(first: int, count: int, model: Path, folder: Path) -> list[dict[str, Any]]:
    """What the worker wrote down; it must have come to its end by itself, and printed nothing."""
    report = folder / "report.jsonl"
    command = [sys.executable, "-m", "tests.hostile.pipeline_worker"]
    done = subprocess.run(
        [*command, str(model), str(folder), str(first), str(count), str(report)],
        cwd=Path(__file__).parents[2],
        # One arena of memory in place of one for each thread, so that what glibc keeps for a thread is no growth.
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60 + count,
        check=False,
    )
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert done.returncode == 0, f"exit status {done.returncode} in {lines[-1:]}: {done.stdout[-2000:]!r}"
    assert done.stdout == b""
    return [line for line in lines if "seed" in line]


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(("first", "count"), [SOME, *ALL])
def test_hostile_places(first: int, count: int, tiny_artifact: Path, folder: Path):
    found = run_pipeline(first, count, tiny_artifact, folder)
    assert [line["seed"] for line in found] == list(range(first, first + count))
    assert [f"{line['seed']}: {line['ran']}: {wrong}" for line in found for wrong in line["wrong"]] == []
    assert [line for line in found if line["seconds"] > SECONDS_EACH] == []
    # What these are made of makes them worth something.
    ran = Counter(line["ran"].split()[0] for line in found)
    assert min(ran[command] for command in ("classify", "embed", "similar", "index")) > count // 20
    assert sum(line["answered"] for line in found) > count < sum(line["refused"] for line in found)
    if sys.platform == "linux":
        nothing_is_left_behind(found)


def nothing_is_left_behind(found: Sequence[dict[str, Any]]) -> None:
    """/proc tells of memory, and glibc has given back what was free."""
    settled, end = found[SETTLED], found[-1]
    assert end["resident"] < settled["resident"] + MOST_GROWTH
    assert end["blocks"] < settled["blocks"] + MOST_BLOCKS * (len(found) - SETTLED)
    assert max(line["resident"] for line in found) < MOST_RESIDENT
    assert {line["files"] for line in found} == {end["files"]}
    assert {line["threads"] for line in found} == {1}
