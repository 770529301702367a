"""A long run through one process: memory, open files and threads stay as they are, and no picture is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.made_pictures import blots

from .soak import expected_errors, soak

MOST_GROWTH = 24 << 20
"""Bytes; a kilobyte a picture would be 18 MB."""
SOME, ALL = pytest.param(600, id="some"), pytest.param(20_000, id="all", marks=pytest.mark.slow)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of a process's memory and files")
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("count", [SOME, ALL])
def test_a_long_run(count: int, tiny_artifact: Path, folder: Path):
    (photos := folder / "photos").mkdir()
    for number in range(40):
        blots(number, (300 + 7 * number, 200)).save(photos / f"{number}.{('jpg', 'png')[number % 2]}")
    found = soak(tiny_artifact, sorted(photos.iterdir()), count, folder)
    assert found.status == 1
    assert set(found.records.values()) == {1}
    assert found.records.total() == count
    assert found.errors == expected_errors(count)
    assert found.stderr.count("error: ") == found.errors
    assert found.end.resident < found.early.resident + MOST_GROWTH
    assert found.end.files <= found.early.files
    assert found.end.threads <= found.early.threads + 1  # what reads stdin
