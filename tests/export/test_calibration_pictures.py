"""Pictures for calibration: those of a folder and all below it, prepared as the model wants them."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_export.errors import CalibrationError
from vit_export.int8 import calibration_pictures
from vit_export.int8.calibration_pictures import CalibrationPictures, read_calibration
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import VitEdgeError
from vit_runtime.pictures.preprocess import load_pixels

PREPROCESSING = Preprocessing(
    resize_shortest_edge=37,
    resize_hw=None,
    crop_hw=(32, 32),
    crop_rounding="half_even",
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


class Heard:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.notes: list[str] = []
        self.advanced = 0

    def stage(self, description: str, total: int | None = None) -> None:
        self.stages.append((description, total))

    def advance(self, amount: int) -> None:
        self.advanced += amount

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def warnings(self) -> list[str]:
        return [note for note in self.notes if note.startswith("warning: ")]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def photos(folder: Path):
    """`photos(3)` leaves 00.png, 01.png and 02.png in the folder; a size is (height, width)."""

    def make(count: int, size: tuple[int, int] = (40, 56), below: str = ".") -> Path:
        (folder / below).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / below / f"{number:02}.png")
        return folder

    return make


def prepared(paths: list[Path], preprocessing: Preprocessing = PREPROCESSING) -> list[bytes]:
    return [load_pixels(path, preprocessing).tobytes() for path in paths]


def pixels_of(pictures: CalibrationPictures) -> list[bytes]:
    return [pixels.tobytes() for pixels in pictures.pixels]


def refusal(folder: Path, heard: Heard) -> str:
    with pytest.raises(CalibrationError) as caught:
        read_calibration(folder, PREPROCESSING, heard)
    assert isinstance(caught.value, VitEdgeError)
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert message.endswith("; give a folder with 32 or more photos like those that the model will see")
    assert len(message.splitlines()) == 1
    return message


def test_pictures_are_prepared_as_the_runtime_does(photos, heard: Heard):
    folder = photos(9)
    pictures = read_calibration(folder, PREPROCESSING, heard)
    assert pixels_of(pictures) == prepared(sorted(folder.iterdir()))
    assert all(pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8 for pixels in pictures.pixels)
    assert (pictures.facts.pictures, pictures.facts.skipped) == (9, 0)
    assert heard.notes == []
    assert heard.stages == [("reading calibration pictures", 9)]
    assert heard.advanced == 9


def test_another_preparation_gives_other_pixels(photos, heard: Heard):
    folder = photos(8)
    other = replace(PREPROCESSING, resize_shortest_edge=None, resize_hw=(48, 48), interpolation="bicubic")
    pictures = read_calibration(folder, other, heard)
    assert pixels_of(pictures) == prepared(sorted(folder.iterdir()), other)
    assert pixels_of(pictures) != prepared(sorted(folder.iterdir()))


def test_a_missing_folder(folder: Path, heard: Heard):
    assert "no such folder" in refusal(folder / "missing", heard)


def test_a_file_in_place_of_a_folder(photos, heard: Heard):
    assert "not a folder" in refusal(photos(2) / "00.png", heard)


def test_an_empty_folder(folder: Path, heard: Heard):
    assert "a folder without pictures" in refusal(folder, heard)


def test_a_folder_with_other_files_only(folder: Path, heard: Heard):
    for name in ("notes.txt", "photo.jpg.part", "._photo.jpg", "model.onnx"):
        (folder / name).write_bytes(b"content")
    (folder / "photos.jpg").mkdir()
    assert "a folder without pictures" in refusal(folder, heard)


@pytest.mark.usefixtures("permissions_hold")
def test_a_folder_that_may_not_be_read(photos, heard: Heard):
    folder = photos(3)
    folder.chmod(0)
    try:
        # Python's own search passes over folders that it may not list, in most versions.
        assert re.search(r"without pictures|cannot be read \(Permission denied\)", refusal(folder, heard))
    finally:
        folder.chmod(0o700)


def test_folders_below_are_searched_in_order_of_path(photos, heard: Heard):
    """As data sets lie on disk: a folder for each class."""
    photos(3, below="tabby")
    photos(4, below="dogs/samoyed")
    folder = photos(2)
    pictures = read_calibration(folder, PREPROCESSING, heard)
    paths = [
        *(folder / f"0{number}.png" for number in range(2)),
        *(folder / "dogs" / "samoyed" / f"0{number}.png" for number in range(4)),
        *(folder / "tabby" / f"0{number}.png" for number in range(3)),
    ]
    assert pixels_of(pictures) == prepared(paths)


def test_unreadable_pictures_are_named_skipped_and_counted(photos, heard: Heard):
    folder = photos(12)
    (folder / "03.png").write_bytes(b"no picture")
    (folder / "07.png").write_bytes((folder / "07.png").read_bytes()[:100])
    pictures = read_calibration(folder, PREPROCESSING, heard)
    readable = [path for path in sorted(folder.iterdir()) if path.name not in ("03.png", "07.png")]
    assert pixels_of(pictures) == prepared(readable)
    assert (pictures.facts.pictures, pictures.facts.skipped) == (10, 2)
    skipped = [note for note in heard.notes if note.startswith("skipped: ")]
    assert [note.split(": ")[1] for note in skipped] == [str(folder / "03.png"), str(folder / "07.png")]
    assert heard.warnings == ["warning: 2 of 12 pictures could not be read: calibrating on 10"]
    assert heard.advanced == 12


@pytest.mark.parametrize("readable", [0, 1])
def test_too_few_readable_pictures_are_an_error(readable: int, photos, heard: Heard):
    folder = photos(5)
    for path in sorted(folder.iterdir())[readable:]:
        path.write_bytes(b"no picture")
    assert f"{readable} of 5 can be read, 2 are the least" in refusal(folder, heard)
    assert len(heard.notes) == 5 - readable


def test_a_single_picture_is_an_error(photos, heard: Heard):
    assert "1 of 1 can be read, 2 are the least" in refusal(photos(1), heard)


@pytest.mark.parametrize("count", [2, 7, 8])
def test_fewer_than_eight_pictures_are_a_warning(count: int, photos, heard: Heard):
    pictures = read_calibration(photos(count), PREPROCESSING, heard)
    assert pictures.facts.pictures == count
    few = [f"warning: {count} pictures are few: with fewer than 8 ranges come out too narrow"]
    assert heard.notes == (few if count < 8 else [])


def test_readable_pictures_count_for_the_warning(photos, heard: Heard):
    folder = photos(9)
    for name in ("01.png", "05.png"):
        (folder / name).write_bytes(b"no picture")
    read_calibration(folder, PREPROCESSING, heard)
    assert [warning.split(":")[1] for warning in heard.warnings] == [
        " 2 of 9 pictures could not be read",
        " 7 pictures are few",
    ]


@pytest.mark.parametrize(
    ("size", "small"), [((32, 32), False), ((31, 200), True), ((200, 31), True), ((8, 8), True), ((33, 32), False)]
)
def test_pictures_smaller_than_the_input_are_a_warning(size: tuple[int, int], small: bool, photos, heard: Heard):
    photos(8, below="large")
    pictures = read_calibration(photos(2, size=size), PREPROCESSING, heard)
    assert pictures.facts.pictures == 10
    assert len(heard.notes) == small
    if small:
        assert heard.notes[0].startswith("warning: 2 of 10 pictures are smaller than the model's input")


def test_more_than_512_are_the_most():
    assert calibration_pictures.MOST == 512


@pytest.mark.parametrize(
    ("count", "taken"),
    [
        (512, range(512)),
        (513, range(512)),
        (768, sorted({*range(0, 768, 3), *range(1, 768, 3)})),
        (1024, range(0, 1024, 2)),
    ],
)
def test_of_many_pictures_some_are_taken_evenly_spread(count: int, taken: Sequence[int], photos, heard: Heard):
    folder = photos(count, (32, 32))
    names = sorted(path.name for path in folder.iterdir())
    pictures = read_calibration(folder, PREPROCESSING, heard)
    assert pixels_of(pictures) == prepared([folder / names[number] for number in taken])
    assert pictures.facts.pictures == heard.advanced == 512
    note = f"{folder}: taking 512 of {count} pictures, evenly spread"
    assert heard.notes == ([note] if count > 512 else [])


def test_the_digest_is_of_the_prepared_pixels_in_order(photos, heard: Heard):
    folder = photos(8)
    expected = hashlib.sha256(b"".join(prepared(sorted(folder.iterdir())))).hexdigest()
    assert read_calibration(folder, PREPROCESSING, heard).facts.sha256 == expected


def test_the_digest_tells_other_pixels_and_another_order_but_not_other_names(photos, heard: Heard):
    folder = photos(8)

    def digest(preprocessing: Preprocessing = PREPROCESSING) -> str:
        return read_calibration(folder, preprocessing, heard).facts.sha256

    before = digest()
    for path in sorted(folder.iterdir()):
        path.rename(path.with_name(f"photo {path.name}"))
    assert digest() == before
    assert digest(replace(PREPROCESSING, interpolation="bicubic")) != before

    (folder / "photo 00.png").rename(folder / "photo 99.png")
    moved = digest()
    assert moved != before
    (folder / "photo 99.png").rename(folder / "photo 00.png")
    assert digest() == before

    shutil.copy(folder / "photo 01.png", folder / "photo 00.png")
    assert digest() not in (before, moved)


def test_pictures_of_every_kind_are_turned_and_made_rgb_as_the_runtime_does(photos, heard: Heard):
    """Grey ones, with transparency, and a JPEG whose EXIF says that it lies on its side."""
    folder = photos(8)
    rng = np.random.default_rng(5)
    Image.fromarray(rng.integers(0, 256, (60, 50), dtype=np.uint8)).save(folder / "grey.png")
    Image.fromarray(rng.integers(0, 256, (60, 50, 4), dtype=np.uint8)).save(folder / "transparent.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(folder / "turned.JPG", exif=exif)
    pictures = read_calibration(folder, PREPROCESSING, heard)
    assert pictures.facts.pictures == 11
    assert pixels_of(pictures) == prepared(sorted(folder.iterdir()))
