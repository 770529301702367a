"""Preprocessing gives the bytes that torchvision's transforms give, on every photo and for every preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.models import WeightsEnum
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812 - the name that torchvision's own code uses

from vit_export.sources.torchvision import MODELS, entry_preprocessing, weights_entries
from vit_runtime.artifact import Preprocessing
from vit_runtime.images import UInt8Array, read_rgb
from vit_runtime.preprocess import RESAMPLING, load_pixels

ENTRIES: dict[Preprocessing, WeightsEnum] = {
    entry_preprocessing(entry): entry for model in MODELS for entry in weights_entries(model).values()
}
"""One published weights entry for each way of preparing pictures."""

INTERPOLATIONS = tuple(RESAMPLING)


def make_preset(
    resize: int | tuple[int, int], crop_hw: tuple[int, int], interpolation: str = "bilinear"
) -> Preprocessing:
    return Preprocessing(
        resize_shortest_edge=resize if isinstance(resize, int) else None,
        resize_hw=None if isinstance(resize, int) else resize,
        crop_hw=crop_hw,
        interpolation=interpolation,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def torchvision_pixels(image: Image.Image, preset: Preprocessing) -> UInt8Array:
    size = list(preset.resize_hw) if preset.resize_hw is not None else [preset.resize_shortest_edge]
    resized = F.resize(image, size, interpolation=InterpolationMode(preset.interpolation))
    return F.pil_to_tensor(F.center_crop(resized, list(preset.crop_hw))).permute(1, 2, 0).numpy()


def random_image(size_hw: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed=size_hw).integers(0, 256, (*size_hw, 3), dtype=np.uint8))


@pytest.mark.parametrize(("pattern", "count"), [("photos/*.[jJ]*", 500), ("calibration/*.[jJ]*", 128), ("dog.jpg", 1)])
def test_every_photo_gives_the_bytes_of_torchvision_for_every_published_preset(data: Path, pattern: str, count: int):
    photos = sorted(data.glob(pattern))
    assert len(photos) == count
    different = []
    for path in photos:
        reference = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        ours = read_rgb(path)
        if not np.array_equal(np.asarray(ours), np.asarray(reference)):
            different.append(f"{path.name} decoded")
        different += [
            f"{path.name}: {preset}"
            for preset in ENTRIES
            if not np.array_equal(load_pixels(ours, preset), torchvision_pixels(reference, preset))
        ]
    assert not different


def test_presets_of_published_weights_differ_in_more_than_size():
    """Guards the test above: it covers both interpolations, and a resize above and equal to the crop."""
    assert {preset.interpolation for preset in ENTRIES} == {"bilinear", "bicubic"}
    assert {preset.resize_shortest_edge == preset.crop_hw[0] for preset in ENTRIES} == {True, False}


sizes_hw = st.one_of(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from([(1, 1), (1, 3000), (3000, 1), (3, 1000), (700, 2)]),
)
small = st.integers(1, 40)


@settings(max_examples=300, deadline=None)
@given(sizes_hw, small, st.tuples(small, small), st.sampled_from(INTERPOLATIONS))
@example((1, 3000), 24, (16, 16), "bicubic")  # resized to 24x72000
@example((3000, 1), 24, (16, 16), "bilinear")
@example((5, 7), 10, (33, 40), "bilinear")  # smaller than the crop: black around, more of it below and to the right
@example((16, 21), 16, (16, 16), "bicubic")  # not resized, cropped at 2.5: halves go to the even side
@example((16, 23), 16, (16, 16), "bicubic")  # and 3.5
def test_shortest_edge_and_crop_agree_with_torchvision(
    size_hw: tuple[int, int], edge: int, crop_hw: tuple[int, int], interpolation: str
):
    image, preset = random_image(size_hw), make_preset(edge, crop_hw, interpolation)
    assert np.array_equal(load_pixels(image, preset), torchvision_pixels(image, preset))


@settings(max_examples=100, deadline=None)
@given(sizes_hw, st.tuples(small, small), st.tuples(small, small), st.sampled_from(INTERPOLATIONS))
def test_exact_size_and_crop_agree_with_torchvision(
    size_hw: tuple[int, int], resize_hw: tuple[int, int], crop_hw: tuple[int, int], interpolation: str
):
    image, preset = random_image(size_hw), make_preset(resize_hw, crop_hw, interpolation)
    assert np.array_equal(load_pixels(image, preset), torchvision_pixels(image, preset))


def test_padding_is_black_and_centred():
    pixels = load_pixels(Image.new("RGB", (2, 2), "white"), make_preset(2, (5, 4)))
    assert pixels[1:3, 1:3].min() == 255
    assert pixels.sum() == 4 * 3 * 255


@pytest.mark.parametrize("preset", ENTRIES, ids=lambda preset: f"{preset.resize_shortest_edge}-{preset.interpolation}")
def test_normalised_bytes_equal_the_published_transforms(preset: Preprocessing):
    """The graph normalises inside: fed with these bytes, it sees what torchvision's preset would have fed it."""
    image = random_image((300, 411))
    ours = F.normalize(F.to_tensor(load_pixels(image, preset)), list(preset.mean), list(preset.std))
    assert torch.equal(ours, ENTRIES[preset].transforms()(image))


@pytest.mark.parametrize("size_hw", [(16, 16), (16, 40), (60, 60), (5, 5)], ids=str)
def test_pixels_belong_to_the_caller(size_hw: tuple[int, int]):
    """The same kind of array whatever the picture's size: writable, contiguous, and no view of the picture."""
    image = random_image(size_hw)
    before = image.tobytes()
    pixels = load_pixels(image, make_preset(16, (16, 16)))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (16, 16, 3)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    pixels[:] = 0
    assert image.tobytes() == before
