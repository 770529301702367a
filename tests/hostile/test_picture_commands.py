"""Folders of damaged pictures on the command lines: answers on stdout, our own lines on stderr, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .bombs import png_of_nothing
from .commands import run, unlike
from .good_pictures import Good
from .picture_mutants import OTHERS_VARIABLE, others_pictures, picture_mutants
from .stubs import Stubs

SOME, ALL = pytest.param(3, id="some"), pytest.param(20, id="all", marks=pytest.mark.slow)
"""Mutants of each sound picture, of which there are some seventy."""
START = 1_000_000
"""Of the seeds: other mutants than the Python API gets."""
OURS = r"error: \S.*|tiny fp32 on CPUExecutionProvider, \d+ threads?(, \d+ pictures at a time)?"
EXPORT_SAYS = (
    r"(reading|asking|calibrating|rounding|writing|comparing|verifying) \S.*|a checkpoint does not say .*"
    r"|(skipped|warning): \S.*|(  )?[a-z0-9 ]+  \S.*"
)
"""Stages, what was assumed, pictures left out, and the table at the end."""

Fill = Callable[[int], Path]


@pytest.fixture
def pictures(goods: list[Good], folder: Path) -> Fill:
    """`pictures(3)`: a folder with every sound picture and three mutants of each."""

    def run(each: int) -> Path:
        target = folder / "pictures"
        target.mkdir()
        for good in goods:
            (target / f"sound_{good.name}{good.suffix}").write_bytes(good.content)
        for name, content in picture_mutants(goods, range(START, START + each * len(goods))):
            (target / name).write_bytes(content)
        return target

    return run


@pytest.fixture
def others(folder: Path) -> Path:
    """A folder of other people's damaged files."""
    target = folder / "others"
    target.mkdir()
    for name, content in others_pictures():
        (target / name).write_bytes(content)
    if not any(target.iterdir()):
        pytest.skip(f"{OTHERS_VARIABLE} names no folder of damaged files")
    return target


def classify_and_embed(model: Path, target: Path, stubs: Stubs) -> list[set[str]]:
    """The pictures that each of the two commands answered for."""
    total = len(list(target.iterdir()))
    classified = run("vit-run", "classify", model, target, "--top", 1, stubs=stubs)
    assert unlike(rf"{target}/\S.*|  [ \d]\d\d?\.\d\d%  class \d", classified.stdout) == []
    assert unlike(OURS, classified.stderr) == []
    answered = {line for line in classified.stdout.splitlines() if line.startswith(str(target))}
    refused = [line for line in classified.stderr.splitlines() if line.startswith("error: ")]
    assert len(answered) + len(refused) == total

    embedded = run("vit-run", "embed", model, target, stubs=stubs)
    assert unlike(OURS, embedded.stderr) == []
    records = [json.loads(line) for line in embedded.stdout.splitlines()]
    assert len(records) == total
    vectors = [record for record in records if "error" not in record]
    assert {len(vector["embedding"]) for vector in vectors} <= {128}
    return [answered, {vector["image"] for vector in vectors}]


@pytest.mark.parametrize("each", [SOME, ALL])
def test_a_folder_of_damaged_pictures(each: int, tiny_artifact: Path, pictures: Fill, stubs: Stubs):
    target = pictures(each)
    classified, embedded = classify_and_embed(tiny_artifact, target, stubs)
    assert classified == embedded
    # The command registers no plug-in, and the range of floating-point pixels is not known.
    sound = {path for path in target.glob("sound_*") if "float" not in path.name and path.suffix != ".heic"}
    assert {str(path) for path in sound} <= classified


def test_a_folder_of_damaged_files_of_other_people(tiny_artifact: Path, others: Path, stubs: Stubs):
    classified, embedded = classify_and_embed(tiny_artifact, others, stubs)
    assert classified == embedded


def test_damaged_pictures_in_a_calibration(tiny_checkpoint: Path, pictures: Fill, folder: Path, stubs: Stubs):
    target, output = pictures(2), folder / "int8.onnx"
    (target / "thin.png").write_bytes(png_of_nothing(1, 65_000))  # sound, and too narrow to be scaled
    done = run("vit-export", tiny_checkpoint, "--precision", "int8", "--calibrate", target, "-o", output, stubs=stubs)
    assert done.stdout == f"{output}\n", done.stderr
    assert unlike(EXPORT_SAYS, done.stderr) == []
    assert "skipped: " in done.stderr
