"""Photos to measure a folder with: which are taken, and how they are enlarged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from vit_bench.contenders.folder.data_loader import _by_pillow, _by_torchvision
from vit_bench.errors import PhotosError
from vit_bench.measure.folder_photos import parse_size, photos_to_measure
from vit_export.progress import Silent
from vit_runtime.artifact import read_artifact
from vit_runtime.errors import UsageError
from vit_runtime.selftest import waves


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_photos_as_they_are_are_taken_evenly_and_described(photos: list[Path]):
    with photos_to_measure(photos[0].parent, None, 4, Silent()) as taken:
        assert taken.paths == tuple(photos[::3])
        sizes = [photo.stat().st_size for photo in taken.paths]
        assert taken.description == f"90x80 in the middle, PNG, {sum(sizes) / 4e3:.0f} kB on average"
    with photos_to_measure(photos[0].parent, None, 100, Silent()) as taken:
        assert taken.paths == tuple(photos)
    assert all(photo.exists() for photo in photos)


def test_photos_are_enlarged_to_cover_the_size(tmp_path: Path):
    for name, size_hw in (("wide", (40, 60)), ("tall", (80, 40))):
        Image.fromarray(waves(size_hw)).save(tmp_path / f"{name}.png")
    with photos_to_measure(tmp_path, "320x240", 10, Silent()) as taken:
        tall, wide = taken.paths
        for path, size_wh, source in ((wide, (320, 240), "wide"), (tall, (240, 320), "tall")):
            with Image.open(path) as enlarged, Image.open(tmp_path / f"{source}.png") as original:
                assert (enlarged.size, enlarged.format) == (size_wh, "JPEG")
                assert enlarged.layer[0][1:3] == (2, 2)  # colours at half the width and height: 4:2:0
                scale = max(size_wh[0] / original.width, size_wh[1] / original.height)
                middle = original.resize((round(original.width * scale), round(original.height * scale)))
                left, top = (middle.width - size_wh[0]) // 2, (middle.height - size_wh[1]) // 2
                wanted = middle.crop((left, top, left + size_wh[0], top + size_wh[1]))
                blur = ImageFilter.GaussianBlur(4)  # takes the grain away
                apart = [
                    torch.from_numpy(np.array(image.filter(blur))).float()
                    for image in (enlarged.convert("RGB"), wanted)
                ]
                assert (apart[0] - apart[1]).abs().mean() < 3
    assert not wide.exists()
    assert not tall.exists()


def test_what_cannot_be_read_is_left_out_and_told(photos: list[Path], tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "good.png").write_bytes(photos[0].read_bytes())
    told = Told()
    with photos_to_measure(tmp_path, None, 10, told) as taken:
        assert taken.paths == (tmp_path / "good.png",)
    (note,) = told.notes
    assert note.startswith("left out: ")
    assert "broken.jpg" in note
    (tmp_path / "good.png").unlink()
    with pytest.raises(PhotosError, match="holds no photo"), photos_to_measure(tmp_path, None, 10, told):
        pass


@pytest.mark.parametrize("text", ["", "4000", "0x3", "4000x", "-1x5", "99999x10", "4000X3000"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(UsageError, match="is no size"):
        parse_size(text)


def test_pytorchs_two_ways_to_read_nearly_agree(tiny_artifact: Path, tmp_path: Path):
    """By Pillow and by `decode_image`, which resizes with other roundings."""
    path = tmp_path / "photo.png"
    Image.fromarray(waves((90, 120))).save(path)
    preprocessing = read_artifact(tiny_artifact).preprocessing
    ours, theirs = (read(str(path), preprocessing) for read in (_by_pillow, _by_torchvision))
    assert ours.shape == theirs.shape == (3, *preprocessing.crop_hw)
    of_a_byte = (ours - theirs).abs() * 255 * torch.tensor(preprocessing.std)[:, None, None]
    assert of_a_byte.max() < 2.5
