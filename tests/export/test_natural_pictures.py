"""What all photos have in common, against real ones: scikit-learn ships two."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from vit_export.int8.natural_pictures import noise_pictures, patch_moment
from vit_export.int8.rounding import SecondMoment, round_to_nearest

SIDE = 96


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    """Patches of 16 x 16 pixels of a temple and a flower, values in the order row, column, colour."""
    cut = [photo[:416, :640].reshape(26, 16, 40, 16, 3).swapaxes(1, 2) for photo in load_sample_images().images]
    return np.concatenate(cut).reshape(-1, 768).astype(np.float64)


def test_a_moment_is_the_formula_written_out():
    moment = patch_moment(5 * 5 * 3).numpy()
    for (row, column, colour), (row2, column2, colour2) in (
        ((0, 0, 0), (0, 0, 0)),
        ((1, 2, 0), (4, 0, 0)),
        ((4, 4, 2), (0, 0, 1)),
        ((3, 1, 1), (3, 1, 2)),
    ):
        distance = ((row - row2) ** 2 + (column - column2) ** 2) ** 0.5
        covariance = 3600 * np.exp(-distance / 30) * (1 if colour == colour2 else 0.93)
        first, second = 3 * (5 * row + column) + colour, 3 * (5 * row2 + column2) + colour2
        assert moment[first, second] == pytest.approx(covariance + 115**2)


@pytest.mark.parametrize("side", [1, 2, 7, 16])
def test_a_moment_is_symmetric_and_positive_definite(side):
    moment = patch_moment(3 * side * side)
    assert moment.shape == (3 * side * side,) * 2
    assert torch.equal(moment, moment.T)
    assert torch.linalg.eigvalsh(moment).min() > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_patch_projection_rounded_by_it_errs_less_on_real_photos(seed, patches):
    weight = np.random.default_rng(seed).normal(size=(64, 768)).astype(np.float32)

    def error(rounded) -> float:
        return float(np.square(patches @ (rounded.dequantized().astype(np.float64) - weight).T).sum())

    assert error(SecondMoment(patch_moment(768)).round(weight)) < 0.05 * error(round_to_nearest(weight))


def test_clouds_have_brightness_colours_and_spectrum_of_photos():
    clouds = np.stack(noise_pictures(SIDE, 8)).astype(np.float64)
    assert clouds.shape == (8, SIDE, SIDE, 3)
    assert 80 < clouds.mean() < 150
    assert 45 < clouds.std(axis=(1, 2, 3)).mean() < 65
    red, green = (clouds[..., colour].reshape(8, -1) for colour in (0, 1))
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(red, green, strict=True)]
    assert 0.7 < np.mean(correlation) < 0.99

    frequency = np.hypot.outer(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))
    amplitude = np.abs(np.fft.fft2(clouds.mean(axis=-1))).mean(axis=0)
    middle = (frequency > 0.05) & (frequency < 0.4)
    slope, _ = np.polyfit(np.log(frequency[middle]), np.log(amplitude[middle]), 1)
    assert -1.35 < slope < -0.85  # real photos: about -1


def test_clouds_are_the_same_each_time_and_differ_among_each_other():
    once, again = noise_pictures(SIDE, 3), noise_pictures(SIDE, 3)
    assert all(picture.dtype == np.uint8 for picture in once)
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(once[0], once[1])
