"""Damaged archives, folders, streams and pictures through a whole job: answers and our errors, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .chunks import WARM_UP, Limits, faults, in_chunks, keep, run_worker
from .good_pictures import Good
from .job_mutants import job_mutants

SOME, ALL = pytest.param(320, id="some"), pytest.param(3_200, id="all", marks=pytest.mark.slow)
"""Jobs of six pictures each."""
PER_PROCESS = 800
LIMITS = Limits(
    # A million pixels at most, in as many workers as there are cores; a bzip2 archive takes its megabytes.
    bytes=150 << 20,
    seconds=30,
    errors=(),
)


@pytest.mark.parametrize("jobs", [SOME, ALL])
def test_damaged_jobs(jobs: int, tiny_artifact: Path, goods: list[Good], folder: Path):
    shutil.copy(tiny_artifact, folder / "model.onnx")
    wrong: list[str] = []
    answered = failed = 0
    for chunk in in_chunks(job_mutants(goods, range(jobs)), PER_PROCESS, folder / "jobs"):
        (chunk / WARM_UP).mkdir()
        (chunk / WARM_UP / f"sound{goods[0].suffix}").write_bytes(goods[0].content)
        results, printed = run_worker("jobs", chunk, seconds=PER_PROCESS)
        lines = faults(results, LIMITS)
        keep(chunk, lines)
        wrong += [*lines, *filter(None, [printed])]
        for result in results:
            if found := re.fullmatch(r"answered by (\d+) and (\d+) errors", result.outcome):
                answered, failed = answered + int(found[1]), failed + int(found[2])
    assert "\n".join(wrong) == ""
    assert min(answered, failed) > jobs  # both are put to the test
