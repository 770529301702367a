"""Files in formats that are not read, under the names of pictures: all are refused, and no program is started."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from vit_runtime import ImageError, load_pixels
from vit_runtime.artifact import read_artifact

from .chunks import faults
from .commands import run, unlike
from .good_pictures import Good
from .mutate import mutated
from .other_formats import EPS, other_files
from .picture_limits import LIMITS, picture_results
from .stubs import Stubs

NAMES = ("photo.jpg", "photo.png", "photo.tif", "photo.heic", "photo.eps", "photo")
DAMAGED = 10
"""Mutants of each file: damage must not make a picture of it either."""
RAW_PILLOW = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"


def test_pillow_by_itself_would_start_a_program(stubs: Stubs, folder: Path):
    """Shows that the stand-ins and the EPS file are as dangerous as they are meant to be."""
    (folder / "photo.jpg").write_bytes(EPS)
    command = [sys.executable, "-c", RAW_PILLOW, str(folder / "photo.jpg")]
    done = subprocess.run(command, capture_output=True, env={"PATH": stubs.path}, check=False)
    assert done.returncode != 0
    assert stubs.started().startswith("gs ")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pillow_by_itself_would_open_most_of_them():
    """Else they would be refused for being damaged."""

    def opens(content: bytes) -> bool:
        try:
            return Image.open(BytesIO(content)) is not None
        except Exception:
            return False

    Image.init()
    opened = {name for name, content in other_files().items() if opens(content)}
    assert len(opened) > 25, sorted(set(other_files()) - opened)


@pytest.mark.parametrize("name", sorted(other_files()))
def test_it_is_refused_whatever_it_is_called(
    name: str, tiny_artifact: Path, folder: Path, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", stubs.path)
    preprocessing, content = read_artifact(tiny_artifact).preprocessing, other_files()[name]
    for file in NAMES:
        (folder / file).write_bytes(content)
        with pytest.raises(ImageError, match="not an image in a format that is read here"):
            load_pixels(folder / file, preprocessing)
    with pytest.raises(ImageError):
        load_pixels(content, preprocessing)
    assert stubs.started() == ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_image_that_pillow_has_opened_is_not_decoded_either(
    tiny_artifact: Path, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", stubs.path)
    Image.init()
    for name, content in other_files().items():
        try:
            image = Image.open(BytesIO(content))
        except Exception:  # noqa: S112 - those that Pillow does not open nobody can hand over
            continue
        if getattr(image, "tile", None):
            with pytest.raises(ImageError, match="which is not read here"):
                load_pixels(image, read_artifact(tiny_artifact).preprocessing)
        assert stubs.started() == "", name


def damaged() -> Iterator[tuple[str, bytes]]:
    for (name, content), seed in product(other_files().items(), range(DAMAGED)):
        yield f"{name}_{seed}.jpg", mutated(content, random.Random(seed))


def test_damaged_ones_start_nothing(goods: list[Good], folder: Path):
    found, wrong = picture_results(damaged(), goods, folder)
    assert wrong == ""
    assert {result.outcome for result in found} == {"refused by ImageError"}, faults(found, LIMITS)


def test_a_folder_of_them_on_the_command_line(tiny_artifact: Path, folder: Path, stubs: Stubs):
    for name, content in other_files().items():
        (folder / f"{name}.jpg").write_bytes(content)
    done = run("vit-run", "classify", tiny_artifact, folder, stubs=stubs)
    assert (done.returncode, done.stdout) == (1, "")
    note, *errors = done.stderr.splitlines()
    assert note.startswith("tiny fp32")
    assert len(errors) == len(other_files())
    assert unlike("error: .*: not an image in a format that is read here; .*", "\n".join(errors)) == []
