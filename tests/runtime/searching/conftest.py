"""Fixtures of the tests of search: rows, an index of them, pictures, and an index of these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array

from .by_the_page import random_rows, unit

Run = Callable[..., Any]


@pytest.fixture
def rows() -> dict[str, FloatArray]:
    """Forty rows of the tiny model's width, of length 1, with names of several alphabets."""
    return {f"{number} ñ 犬.png": row for number, row in enumerate(unit(random_rows(40, 128)))}


@pytest.fixture(params=["float32", "int8"])
def index(
    request: pytest.FixtureRequest, tiny_artifact: Path, rows: dict[str, FloatArray], tmp_path: Path
) -> vit.Index:
    """An index of these rows."""
    made = vit.create_index(tmp_path / "rows.index", tiny_artifact, int8=request.param == "int8")
    made.add(rows, rows.values())
    return made


@pytest.fixture
def photos(tmp_path: Path, random_pictures: Callable[[int], list[UInt8Array]]) -> Path:
    """A folder of six pictures, 0.png to 5.png; it is the current folder's `photos`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, picture in enumerate(random_pictures(6)):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def indexed(vit_run: Run, tiny_artifact: Path, photos: Path) -> Path:
    """An index of the photos, beside their folder."""
    path = photos.parent / "photos.index"
    assert vit_run("index", tiny_artifact, photos, "-o", path).exit_code == 0
    return path
