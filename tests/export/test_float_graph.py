"""The calibration pass, against what hooks in PyTorch's own model see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vit_export.int8.float_graph import FloatGraph
from vit_export.int8.observed import Observed, Samples
from vit_export.int8.quantizer import ActivationRounding
from vit_export.int8.rounding import Range
from vit_export.progress import Silent
from vit_export.read.picture_preparation import imagenet_preset
from vit_export.write.blueprint import Blueprint
from vit_export.write.weights import finite_weights
from vit_runtime.artifact import Architecture

PLACES = {
    "encoder/1/mlp/input": lambda model: model.encoder.layers[1].ln_2,
    "encoder/0/mlp/gelu": lambda model: model.encoder.layers[0].mlp[1],
    "encoder/2/attention/input": lambda model: model.encoder.layers[2].ln_1,
}


@pytest.fixture(scope="module")
def state(three_blocks) -> dict[str, torch.Tensor]:
    return load_file(three_blocks)


def blueprint(arch: Architecture, state: dict[str, torch.Tensor]) -> Blueprint:
    return Blueprint(arch=arch, preprocessing=imagenet_preset(32), weights=finite_weights(state, "weights"))


@pytest.fixture
def float_model(state, folder, three_blocks_architecture) -> FloatGraph:
    return FloatGraph(folder, blueprint(three_blocks_architecture, state))


@pytest.fixture
def seen(state, pytorch, random_pixels) -> dict[str, np.ndarray]:
    """What PyTorch computes in these places: (pictures, tokens, width)."""
    model = pytorch.tiny(state, num_layers=3)
    caught: dict[str, np.ndarray] = {}
    for place, module in PLACES.items():
        module(model).register_forward_hook(
            lambda _module, _args, output, place=place: caught.__setitem__(place, output.numpy())
        )
    pytorch.run(model, pytorch.normalise(random_pixels(5, 32)))
    return caught


@pytest.mark.parametrize("place", PLACES)
def test_the_class_token_counts_thirtyfold_in_second_moments(place, float_model, seen, random_pixels):
    (sites,) = float_model.groups()
    observed, _ = float_model.observe(sites, list(random_pixels(5, 32)), Silent())
    weights = np.ones(17)
    weights[0] = 30
    values = seen[place].astype(np.float64)
    moment = np.einsum("t,ptc,ptd->cd", weights, values, values)
    np.testing.assert_allclose(observed[place].moment, moment, rtol=1e-3, atol=1e-4 * np.abs(moment).max())
    np.testing.assert_allclose(observed[place].total, np.einsum("t,ptc->c", weights, values), atol=1e-2)
    assert observed[place].weight == 5 * (16 + 30)
    np.testing.assert_allclose(observed[place].low, values.min(axis=(0, 1)), atol=1e-5)
    np.testing.assert_allclose(observed[place].high, values.max(axis=(0, 1)), atol=1e-5)


def test_pixels_have_no_class_token(float_model, random_pixels):
    (sites,) = float_model.groups()
    pixels = random_pixels(5, 32)
    observed, _ = float_model.observe(sites, list(pixels), Silent())
    patches = pixels.reshape(5, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(-1, 192).astype(np.float64)
    np.testing.assert_allclose(observed["patch_embed/input"].moment, patches.T @ patches, rtol=1e-5)
    assert observed["patch_embed/input"].weight == 5 * 16


def test_averaged_patches_have_no_class_token_either(state, folder, three_blocks_architecture, random_pixels):
    arch = replace(three_blocks_architecture, class_token=False, pooling="patch_mean")
    patches = state | {"encoder.pos_embedding": state["encoder.pos_embedding"][:, 1:]}
    model = FloatGraph(folder, blueprint(arch, patches))
    (sites,) = model.groups()
    observed, _ = model.observe(sites, list(random_pixels(5, 32)), Silent())
    assert {place.weight for place in observed.values()} == {5 * 16}


def test_the_answers_are_pytorchs(float_model, state, pytorch, random_pixels):
    (sites,) = float_model.groups()
    pixels = random_pixels(5, 32)
    _, answers = float_model.observe(sites, list(pixels), Silent())
    expected = pytorch.run(pytorch.tiny(state, num_layers=3), pytorch.normalise(pixels))
    assert list(answers.of) == ["logits", "embedding"]
    for ours, theirs in zip(answers.of.values(), expected, strict=True):
        np.testing.assert_allclose(np.stack(ours), theirs, rtol=0, atol=1e-5)


def test_samples_come_from_all_pictures_and_hold_class_tokens(float_model, seen, random_pixels):
    place = "encoder/1/mlp/input"
    (sites,) = float_model.groups()
    observed, _ = float_model.observe(sites, list(random_pixels(5, 32)), Silent())
    for picture, sample in enumerate(observed[place].samples):
        np.testing.assert_allclose(sample, seen[place][picture][picture::8], atol=1e-5)
    assert len(observed[place].samples) == 5


@pytest.mark.parametrize("place", PLACES)
def test_peaks_are_the_largest_sizes_of_each_channel(place, float_model, seen, random_pixels):
    peaks = float_model.peaks(random_pixels(5, 32))
    np.testing.assert_allclose(peaks[place], np.abs(seen[place]).max(axis=(0, 1)), atol=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_class_tokens_are_kept_of_every_picture_and_count_as_in_second_moments(place, float_model, seen, random_pixels):
    (sites,) = float_model.groups()
    observed, _ = float_model.observe(sites, list(random_pixels(5, 32)), Silent())
    sampled = observed[place].sampled()
    np.testing.assert_allclose(sampled.rows[-5:], seen[place][:, 0], atol=1e-5)
    count = sum(len(sample) for sample in observed[place].samples)
    np.testing.assert_allclose(sampled.weights, [5 * 17 / count] * count + [30] * 5, rtol=1e-6)


def test_a_model_without_class_token_has_samples_alone():
    observed = Observed.nothing(8)
    observed.add(np.ones((16, 8), np.float32), class_token=False)
    assert observed.sampled().rows.shape == (2, 8)
    assert observed.sampled().weights.tolist() == [8, 8]


def even_spread() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 3, (4000, 256)).astype(np.float32)


def part_of_gelus_range(float_model: FloatGraph, samples: Samples) -> float:
    """The share of its largest value that GELU's output is given steps for."""

    def simulate(ranges):
        def on_a_grid(x, values):
            step = ranges[x.site].high / 255
            return np.asarray(np.clip(np.rint(values / step), 0, 255) * step, np.float32)

        return on_a_grid

    rounding = ActivationRounding(simulate=simulate, constant_scales=True)
    (site,) = [layer.input for layer in float_model.layers if layer.input.site == "encoder/1/mlp/gelu"]
    weight = np.random.default_rng(1).normal(size=(64, 256)).astype(np.float32)
    largest = float(samples.rows.max())
    part = rounding.range_of(site, Range(low=-0.17, high=largest), samples, weight)
    assert part.low == -0.17
    return part.high / largest


@pytest.mark.parametrize(
    ("largest", "narrowed"), [(3.0, False), (30.0, True)], ids=["an even spread", "one value ten times as large"]
)
def test_gelus_range_is_narrowed_where_its_largest_values_are_rare(largest, narrowed, float_model):
    rows = even_spread()
    rows[0, 0] = largest
    part = part_of_gelus_range(float_model, Samples(rows=rows, weights=np.ones(4000, np.float32)))
    assert (part < 1) == narrowed


def test_gelus_range_is_not_narrowed_where_its_largest_values_are_the_class_tokens(float_model):
    """Eight rows of four thousand: the squared error of all rows together hardly shows them."""
    rows, weights = even_spread(), np.ones(4000, np.float32)
    rows[:8, 0], weights[:8] = 9.0, 30.0
    assert part_of_gelus_range(float_model, Samples(rows=rows, weights=np.ones_like(weights))) < 1
    assert part_of_gelus_range(float_model, Samples(rows=rows, weights=weights)) == 1


def test_an_output_that_is_always_zero_gives_a_range_all_the_same(float_model):
    rows = np.zeros((16, 256), np.float32)
    rows[0, 0] = 1e-30
    assert 0 < part_of_gelus_range(float_model, Samples(rows=rows, weights=np.ones(16, np.float32))) <= 1
