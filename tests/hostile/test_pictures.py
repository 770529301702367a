"""Damaged pictures through the Python API: pixels or an `ImageError`, little memory, little time, no program."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image

from vit_runtime.pictures.formats import FORMATS

from .good_pictures import Good
from .picture_limits import picture_results
from .picture_mutants import OTHERS_VARIABLE, others_pictures, picture_mutants

SOME, ALL = pytest.param(20, id="some"), pytest.param(200, id="all", marks=pytest.mark.slow)
"""Mutants of each sound picture, of which there are some seventy."""


def test_the_sound_pictures_are_what_they_are_called(goods: list[Good]):
    """Of every format of the list, but the one by plug-in, at least one; what is left out is this Pillow's lack."""
    opened = {good.name: Image.open(BytesIO(good.content)).format for good in goods}
    missing = {"WEBP", "AVIF"} - set(Image.SAVE)
    by_plug_in = {"HEIF"} & set(Image.SAVE)
    assert set(FORMATS) - missing | by_plug_in == {"JPEG" if name == "MPO" else name for name in opened.values()}
    assert len({good.name for good in goods}) == len(goods) >= 50


def test_the_sound_pictures_are_read(goods: list[Good], folder: Path):
    pictures = ((f"{good.name}{good.suffix}", good.content) for good in goods)
    found, wrong = picture_results(pictures, goods, folder)
    assert wrong == ""
    refused = {Path(result.case).stem for result in found if result.outcome != "answered"}
    assert refused == {"tiff_float", "ppm_float"}  # floating-point pixels, whose range is not known


@pytest.mark.parametrize("each", [SOME, ALL])
def test_a_damaged_picture_is_read_or_refused(each: int, goods: list[Good], folder: Path):
    seeds = range(each * len(goods))
    found, wrong = picture_results(picture_mutants(goods, seeds), goods, folder)
    assert wrong == ""
    assert len(found) == len(seeds)
    outcomes = Counter(result.outcome for result in found)
    assert min(outcomes["answered"], outcomes["refused by ImageError"]) > len(seeds) // 10  # both are put to the test


def test_damaged_files_of_other_people(goods: list[Good], folder: Path):
    pictures = others_pictures()
    if (first := next(pictures, None)) is None:
        pytest.skip(f"{OTHERS_VARIABLE} names no folder of damaged files")
    _, wrong = picture_results(chain([first], pictures), goods, folder)
    assert wrong == ""
