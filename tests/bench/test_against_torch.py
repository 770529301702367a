"""The measurement beside PyTorch: both contenders run, and the table holds what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vit_bench.against_torch import Sample, measure, table
from vit_runtime.selftest import waves


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(waves((60, 80))).save(path)
    return path


def test_both_contenders_answer_and_are_measured(tiny_artifact: Path, tiny_checkpoint: Path, photo: Path):
    ours = measure("runtime", str(tiny_artifact), str(photo), threads=1, runs=3)
    theirs = measure("torch", str(tiny_checkpoint), str(photo), threads=1, runs=3)
    for sample in (ours, theirs):
        assert 0 < sample.latency_s < sample.first_answer_s
    # Importing torch alone takes several times what the runtime takes as a whole: no close call, and no timing.
    assert ours.peak_bytes < theirs.peak_bytes


def test_a_contender_that_fails_is_an_error(tmp_path: Path, photo: Path):
    with pytest.raises(SystemExit, match="runtime failed"):
        measure("runtime", str(tmp_path / "missing.onnx"), str(photo), threads=1, runs=1)


def test_the_table_shows_medians_and_the_ratios_round_by_round():
    ours = [Sample(latency_s=seconds, first_answer_s=1.0, peak_bytes=1e8) for seconds in (0.1, 0.2, 0.4)]
    theirs = [Sample(latency_s=seconds, first_answer_s=3.0, peak_bytes=4e8) for seconds in (0.3, 0.4, 0.4)]
    latency, first_answer, memory = table({"runtime": ours, "torch": theirs}).splitlines()[1:]
    assert latency.split()[2:] == ["200.0", "400.0", "2.00", "(1.00", "to", "3.00)"]
    assert first_answer.split()[3:] == ["1.0", "3.0", "3.00", "(3.00", "to", "3.00)"]
    assert memory.split()[3:] == ["100.0", "400.0", "4.00", "(4.00", "to", "4.00)"]
