"""Preprocessing gives the bytes that torchvision's transforms, or transformers', give for every photo and preset."""

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
from transformers import image_transforms

from vit_export.read.torchvision import MODELS, entry_preprocessing, weights_entries
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.pictures.preprocess import RESAMPLING, crop_box, load_pixels
from vit_runtime.pictures.reading import read_rgb

ENTRIES: dict[Preprocessing, WeightsEnum] = {
    entry_preprocessing(entry): entry for model in MODELS for entry in weights_entries(model).values()
}
"""One published weights entry for each way of preparing pictures."""

INTERPOLATIONS = tuple(RESAMPLING)


def make_preset(
    resize: int | tuple[int, int],
    crop_hw: tuple[int, int],
    interpolation: str = "bilinear",
    crop_rounding: str = "half_even",
) -> Preprocessing:
    return Preprocessing(
        resize_shortest_edge=resize if isinstance(resize, int) else None,
        resize_hw=None if isinstance(resize, int) else resize,
        crop_hw=crop_hw,
        crop_rounding=crop_rounding,
        interpolation=interpolation,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def torchvision_pixels(image: Image.Image, preset: Preprocessing) -> UInt8Array:
    size = list(preset.resize_hw) if preset.resize_hw is not None else [preset.resize_shortest_edge]
    resized = F.resize(image, size, interpolation=InterpolationMode(preset.interpolation))
    return F.pil_to_tensor(F.center_crop(resized, list(preset.crop_hw))).permute(1, 2, 0).numpy()


def transformers_pixels(image: Image.Image, preset: Preprocessing) -> UInt8Array:
    """As transformers' image processors for PIL do it, with the functions that they call."""
    pixels, last = np.array(image), {"input_data_format": "channels_last"}
    size_hw = preset.resize_hw
    if size_hw is None:
        edge = preset.resize_shortest_edge
        size_hw = image_transforms.get_resize_output_image_size(pixels, edge, default_to_square=False, **last)
    resized = image_transforms.resize(pixels, size_hw, RESAMPLING[preset.interpolation], **last)
    return image_transforms.center_crop(resized, preset.crop_hw, **last)


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


@settings(max_examples=300, deadline=None)
@given(sizes_hw, small, st.tuples(small, small), st.sampled_from(INTERPOLATIONS))
@example((1, 3000), 24, (16, 16), "bicubic")  # resized to 24x72000
@example((5, 7), 10, (33, 40), "bilinear")  # smaller than the crop: black around, more of it above and to the left
@example((7, 40), 7, (12, 21), "bicubic")  # padded above, cropped at the sides at 9.5
@example((16, 21), 16, (16, 16), "bicubic")  # not resized, cropped at 2.5: halves go down
@example((16, 23), 16, (16, 16), "bicubic")  # and 3.5, which torchvision rounds up
def test_shortest_edge_and_crop_agree_with_transformers_where_halves_go_down(
    size_hw: tuple[int, int], edge: int, crop_hw: tuple[int, int], interpolation: str
):
    image, preset = random_image(size_hw), make_preset(edge, crop_hw, interpolation, "down")
    assert np.array_equal(load_pixels(image, preset), transformers_pixels(image, preset))


@settings(max_examples=100, deadline=None)
@given(sizes_hw, st.tuples(small, small), st.tuples(small, small), st.sampled_from(INTERPOLATIONS))
def test_exact_size_and_crop_agree_with_transformers_where_halves_go_down(
    size_hw: tuple[int, int], resize_hw: tuple[int, int], crop_hw: tuple[int, int], interpolation: str
):
    image, preset = random_image(size_hw), make_preset(resize_hw, crop_hw, interpolation, "down")
    assert np.array_equal(load_pixels(image, preset), transformers_pixels(image, preset))


@pytest.mark.parametrize(("width", "alike"), [(16, True), (18, True), (21, True), (23, False), (13, False), (12, True)])
def test_the_two_ways_of_rounding_differ_in_halves_alone(width: int, alike: bool):
    """Of 2.5 both make 2; torchvision makes 4 of 3.5; an odd black column comes last there and first here."""
    image = random_image((16, width))
    here, there = (
        load_pixels(image, make_preset((16, width), (16, 16), "bilinear", way)) for way in ("down", "half_even")
    )
    assert np.array_equal(here, there) is alike


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


@pytest.mark.parametrize(
    ("size_wh", "preset", "expected"),
    [
        ((300, 200), make_preset(100, (100, 100)), (50, 0, 250, 200)),
        ((200, 300), make_preset(100, (50, 60)), (40, 100, 160, 200)),
        ((80, 40), make_preset((16, 16), (16, 16)), (0, 0, 80, 40)),
        ((80, 40), make_preset((20, 20), (10, 16)), (8, 10, 72, 30)),
        ((101, 50), make_preset(20, (20, 20)), (10 * 101 / 40, 0, 30 * 101 / 40, 50)),  # resized to 40.4, so to 40
        ((23, 16), make_preset(16, (16, 16)), (4, 0, 20, 16)),
        ((23, 16), make_preset(16, (16, 16), crop_rounding="down"), (3, 0, 19, 16)),
        ((2, 2), make_preset(2, (5, 4)), (-1, -1, 3, 4)),
        ((2, 2), make_preset(2, (5, 4), crop_rounding="down"), (-1, -2, 3, 3)),
        ((20, 20), make_preset(2, (5, 4)), (-10, -10, 30, 40)),
    ],
    ids=str,
)
def test_the_models_part_of_a_photo(
    size_wh: tuple[int, int], preset: Preprocessing, expected: tuple[float, float, float, float]
):
    """Reckoned by hand: the crop's edges in the resized picture, times photo's size over resized size."""
    assert crop_box(size_wh, preset) == pytest.approx(expected, abs=1e-12)


def coordinates(count: int, box: tuple[float, float], of: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in the photo the pixels of the model's input lie, and which of them see no edge of the photo."""
    step = (box[1] - box[0]) / count
    centres = box[0] + (np.arange(count) + 0.5) * step
    reach = max(step, 1.0)  # of Pillow's bilinear filter
    return centres, (centres >= reach) & (centres <= of - reach)


moderate = st.integers(40, 84)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(moderate, moderate),
    st.one_of(st.integers(24, 40), st.tuples(moderate, moderate)),
    st.tuples(st.integers(16, 60), st.integers(16, 60)),
    st.sampled_from(["half_even", "down"]),
)
def test_the_models_part_of_a_photo_is_where_its_pixels_come_from(
    size_hw: tuple[int, int], resize: int | tuple[int, int], crop_hw: tuple[int, int], crop_rounding: str
):
    """A picture that holds its own coordinates, red across and green down, goes through preparation.

    A quarter of a pixel of the model's input is left for bytes, which hold no fractions, and for filters whose width is
    no whole number of pixels; to be off by half a pixel would be too much.
    """
    height, width = size_hw
    shades_x, shades_y = 255 // width, 255 // height
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.arange(width) * shades_x
    ramp[..., 1] = np.arange(height)[:, None] * shades_y
    preset = make_preset(resize, crop_hw, "bilinear", crop_rounding)
    pixels = load_pixels(ramp, preset).astype(float)
    left, top, right, bottom = crop_box((width, height), preset)
    x, clear_x = coordinates(crop_hw[1], (left, right), width)
    y, clear_y = coordinates(crop_hw[0], (top, bottom), height)
    seen = pixels[np.ix_(clear_y, clear_x)]
    assert seen.size
    assert np.abs(seen[..., 0] / shades_x + 0.5 - x[clear_x]).max() < (right - left) / crop_hw[1] / 4
    assert np.abs(seen[..., 1] / shades_y + 0.5 - y[clear_y, None]).max() < (bottom - top) / crop_hw[0] / 4
