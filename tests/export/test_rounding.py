"""Weights become int8 within half a step of their value, or so that the layer's output changes least."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from vit_export.int8.rounding import Range, SecondMoment, channel_scales, round_to_nearest

LARGEST = float(np.float32(3e38))
"""Near float32's own largest."""


def matrices(largest: float = LARGEST) -> st.SearchStrategy[np.ndarray]:
    numbers = st.floats(-largest, largest, width=32, allow_subnormal=True)
    shapes = st.tuples(st.integers(1, 5), st.integers(1, 7))
    return st_numpy.arrays(np.float32, shapes, elements=numbers | st.just(np.float32(0)))


def half_step_error(weight: np.ndarray, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """By how much of a step each weight is missed; in double precision, channel by channel."""
    missed = np.empty(weight.shape)
    for channel, row in enumerate(weight):
        step = float(scale[channel])
        missed[channel] = [abs(float(w) - int(q) * step) / step for w, q in zip(row, values[channel], strict=True)]
    return missed


@settings(deadline=None)
@given(weight=matrices())
def test_each_weight_is_missed_by_half_a_step_at_most(weight: np.ndarray):
    rounded = round_to_nearest(weight)
    assert rounded.values.dtype == np.int8
    assert rounded.values.shape == weight.shape
    assert rounded.scale.dtype == np.float32
    assert rounded.scale.shape == (len(weight),)
    assert rounded.values.min() >= -127
    assert np.isfinite(rounded.scale).all()
    assert (rounded.scale > 0).all()
    # The scale itself is rounded to float32, which moves the 127th step by 127 · 2⁻²⁴ of a step.
    assert half_step_error(weight, rounded.values, rounded.scale).max() <= 0.5 + 127 * 2**-23


@settings(deadline=None)
@given(weight=matrices())
def test_the_largest_weight_of_a_channel_becomes_127(weight: np.ndarray):
    rounded = round_to_nearest(weight)
    for row, values, scale in zip(weight, rounded.values, rounded.scale, strict=True):
        if np.abs(row).max() > 2e-36:
            assert np.abs(values).max() == 127
            assert scale == pytest.approx(float(np.abs(row).max()) / 127, rel=2**-23)


@settings(deadline=None)
@given(weight=matrices())
def test_a_negated_weight_is_negated_in_int8(weight: np.ndarray):
    there, back = round_to_nearest(weight), round_to_nearest(-weight)
    assert np.array_equal(there.scale, back.scale)
    assert np.array_equal(there.values, -back.values)


def test_the_formula_written_out():
    weight = np.array([[0.5, -1.27, 0.006], [254, 3, -1], [-0.127, 0.0014, 0.0016]], np.float32)
    rounded = round_to_nearest(weight)
    np.testing.assert_allclose(rounded.scale, [0.01, 2, 0.001], rtol=1e-6)
    assert rounded.values.tolist() == [[50, -127, 1], [127, 2, 0], [-127, 1, 2]]
    expected = [[0.5, -1.27, 0.01], [254, 4, 0], [-0.127, 0.001, 0.002]]
    np.testing.assert_allclose(rounded.dequantized(), expected, rtol=1e-6)
    assert rounded.dequantized().dtype == np.float32


def test_a_channel_of_zeros_gets_scale_one():
    rounded = round_to_nearest(np.array([[0, 0, 0], [1, 2, 3]], np.float32))
    assert rounded.scale[0] == 1
    assert rounded.values[0].tolist() == [0, 0, 0]
    assert rounded.values[1, 2] == 127


@pytest.mark.parametrize("largest", [1e-45, 1e-40, np.finfo(np.float32).tiny, 1e-36])
def test_a_channel_whose_scale_would_be_denormal_is_taken_for_zeros(largest: float):
    weight = np.array([[largest, -largest, 0]], np.float32)
    for rounded in (round_to_nearest(weight), SecondMoment(torch.eye(3)).round(weight)):
        assert rounded.scale.tolist() == [1]
        assert rounded.values.tolist() == [[0, 0, 0]]


def test_scales_are_never_denormal():
    """Some kernels take such a number for zero."""
    weight = np.geomspace(1e-44, 1e-30, 500, dtype=np.float32)[:, None]
    assert (channel_scales(weight) >= np.finfo(np.float32).tiny).all()
    assert np.unique(channel_scales(weight)).size > 100  # the others have scales of their own


@pytest.mark.parametrize(
    ("low", "high", "largest"), [(-3.0, 2.0, 3.0), (-1.0, 2.5, 2.5), (0.0, 0.0, 1.0), (-2.0, -1.0, 2.0)]
)
def test_the_largest_of_a_range(low: float, high: float, largest: float):
    assert Range(low=low, high=high).largest == largest


def layer(outputs: int, inputs: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(outputs, inputs)).astype(np.float32)


def correlated(rows: int, width: int, factors: int, seed: int) -> np.ndarray:
    """Inputs (rows, width) that a few hidden factors decide almost alone, as activations of a network are."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, factors)) @ rng.normal(size=(factors, width))
    return hidden + 0.05 * rng.normal(size=(rows, width))


def moment_of(inputs: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(inputs.T @ inputs / len(inputs))


def output_error(inputs: np.ndarray, weight: np.ndarray, rounded: np.ndarray) -> float:
    """Mean squared error of the layer's output, by running it."""
    return float(np.square(inputs @ (rounded.astype(np.float64) - weight).T).mean())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("width", "factors"), [(64, 8), (128, 16), (200, 16), (300, 40)])
def test_the_output_changes_less_than_with_plain_rounding(width: int, factors: int, seed: int):
    """Also on inputs that the second moment was not taken from; 200 and 300 columns take several blocks of 128."""
    inputs, weight = correlated(2000, width, factors, seed), layer(48, width, seed)
    seen, unseen = inputs[:1000], inputs[1000:]
    rounded = SecondMoment(moment_of(seen)).round(weight).dequantized()
    plain = round_to_nearest(weight).dequantized()
    for rows in (seen, unseen):
        assert output_error(rows, weight, rounded) < output_error(rows, weight, plain) / 2


def test_the_scales_are_those_of_plain_rounding():
    weight = layer(10, 64, seed=3)
    rounded = SecondMoment(moment_of(correlated(300, 64, 8, seed=3))).round(weight)
    assert np.array_equal(rounded.scale, round_to_nearest(weight).scale)


@pytest.mark.parametrize("width", [1, 5, 128, 129, 300])
@pytest.mark.parametrize("factor", [1.0, 1e-6, 1e6])
def test_inputs_without_correlation_give_plain_rounding(width: int, factor: float):
    weight = layer(20, width, seed=width)
    rounded = SecondMoment(torch.eye(width) * factor).round(weight)
    assert np.array_equal(rounded.values, round_to_nearest(weight).values)


def test_inputs_of_different_size_without_correlation_give_plain_rounding_in_the_columns_own_order():
    """The columns are rounded by falling size, here neither rising nor falling."""
    weight = layer(20, 7, seed=0)
    moment = torch.diag(torch.tensor([3.0, 9.0, 1.0, 27.0, 2.0, 0.5, 8.0]))
    assert np.array_equal(SecondMoment(moment).round(weight).values, round_to_nearest(weight).values)


@pytest.mark.parametrize("width", [40, 260])
def test_the_order_of_the_inputs_does_not_matter(width: int):
    """Columns that change places, with their moments, give the same integers at their new places."""
    weight, inputs = layer(16, width, seed=1), correlated(500, width, 6, seed=1)
    places = np.random.default_rng(2).permutation(width)
    there = SecondMoment(moment_of(inputs)).round(weight)
    moved = SecondMoment(moment_of(inputs[:, places])).round(np.ascontiguousarray(weight[:, places]))
    agree = (moved.values == there.values[:, places]).mean()
    assert agree > 0.999  # sums in another order may tip a tie


def by_definition(weight: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Optimal brain surgeon, one weight after the other, with the inverse computed anew for the columns that are left.

    Frantar et al. 2023, equations 2 and 3: neither blocks nor Cholesky factors.
    """
    moment = moment + np.eye(len(moment)) * 0.01 * np.diag(moment).mean()
    order = np.argsort(-np.diag(moment))
    left, scale = weight.astype(np.float64).copy(), np.abs(weight).max(axis=1).astype(np.float32) / np.float32(127)
    values = np.zeros(weight.shape)
    for step, column in enumerate(order):
        remaining = order[step:]
        inverse = np.linalg.inv(moment[np.ix_(remaining, remaining)])
        values[:, column] = np.clip(np.rint(left[:, column] / scale), -127, 127)
        missed = (left[:, column] - values[:, column] * scale) / inverse[0, 0]
        left[:, remaining] -= missed[:, None] * inverse[0]
    return values


@pytest.mark.parametrize("width", [10, 60, 150])
def test_the_integers_are_those_of_the_paper(width: int):
    inputs, weight = correlated(1000, width, 5, seed=9), layer(12, width, seed=9)
    rounded = SecondMoment(moment_of(inputs)).round(weight)
    expected = by_definition(weight, inputs.T @ inputs / len(inputs))
    assert (rounded.values == expected).mean() > 0.999  # rounding errors may tip a tie


@pytest.mark.parametrize("width", [64, 200])
def test_fewer_rows_than_inputs(width: int):
    """As the head of a large model gets from a few pictures: the second moment alone has no inverse."""
    inputs, weight = np.random.default_rng(4).normal(size=(5, width)), layer(8, width, seed=4)
    rounded = SecondMoment(moment_of(inputs)).round(weight)
    assert np.abs(rounded.values.astype(int)).max() <= 127
    plain = round_to_nearest(weight).dequantized()
    assert output_error(inputs, weight, rounded.dequantized()) < output_error(inputs, weight, plain) / 2


def test_inputs_that_are_always_zero_give_plain_rounding():
    weight = layer(8, 40, seed=5)
    rounded = SecondMoment(torch.zeros(40, 40)).round(weight)
    assert np.array_equal(rounded.values, round_to_nearest(weight).values)


def test_a_single_input_that_is_always_zero():
    inputs, weight = correlated(400, 40, 4, seed=6), layer(8, 40, seed=6)
    inputs[:, 17] = 0
    rounded = SecondMoment(moment_of(inputs)).round(weight)
    assert np.array_equal(rounded.values[:, 17], round_to_nearest(weight).values[:, 17])
    plain = round_to_nearest(weight).dequantized()
    assert output_error(inputs, weight, rounded.dequantized()) < output_error(inputs, weight, plain) / 2


@settings(deadline=None, max_examples=50)
@given(weight=matrices(largest=1e4), seed=st.integers(0, 100), size=st.sampled_from([1e-20, 1e-3, 1.0, 1e6]))
def test_values_stay_in_range_whatever_the_inputs(weight: np.ndarray, seed: int, size: float):
    inputs = size * correlated(3, weight.shape[1], 1, seed)
    rounded = SecondMoment(moment_of(inputs)).round(weight)
    assert rounded.values.dtype == np.int8
    assert rounded.values.shape == weight.shape
    assert rounded.values.min() >= -127
    assert np.array_equal(rounded.scale, round_to_nearest(weight).scale)


def test_neither_weights_nor_moment_are_changed():
    inputs, weight = correlated(100, 150, 4, seed=7), layer(8, 150, seed=7)
    moment, weight_before = moment_of(inputs), weight.copy()
    moment_before = moment.clone()
    second_moment = SecondMoment(moment)
    first = second_moment.round(weight)
    assert np.array_equal(weight, weight_before)
    assert torch.equal(moment, moment_before)
    assert np.array_equal(second_moment.round(weight).values, first.values)  # it serves several layers
