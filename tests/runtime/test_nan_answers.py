"""A model that answers with NaN: text files and indexes cannot hold it, and say so in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

Edit = Callable[..., Path]
Run = Callable[..., Any]

SCALE = "encoder.ln.weight"


@pytest.fixture
def broken(edit_artifact: Edit) -> Path:
    """The tiny model, whose final LayerNorm makes NaN of everything."""

    def edit(graph: onnx.GraphProto) -> None:
        (weight,) = (each for each in graph.initializer if each.name == SCALE)
        weight.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(weight.dims), np.nan, np.float32), weight.name))

    return edit_artifact(graph=edit)


@pytest.mark.parametrize("ending", [None, ".jsonl", ".csv"])
@pytest.mark.parametrize("command", ["classify", "embed"])
def test_an_answer_of_nan_is_told_in_one_line(
    command: str, ending: str | None, vit_run: Run, broken: Path, photo: Path, tmp_path: Path
):
    target = tmp_path / f"results{ending}"
    words = ("--json",) if ending is None and command == "classify" else () if ending is None else ("-o", target)
    done = vit_run(command, broken, photo, photo, *words)
    assert done.exit_code == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].endswith("answers with NaN or infinity; run vit-run check on its file")
    assert "bug" not in done.stderr
    if ending is not None:
        assert b"nan" not in target.read_bytes().lower()


def test_an_array_can_hold_nan(vit_run: Run, broken: Path, photo: Path, tmp_path: Path):
    assert vit_run("embed", broken, photo, photo, "-o", tmp_path / "x.npy").exit_code == 0
    assert np.isnan(np.load(tmp_path / "x.npy")).all()
