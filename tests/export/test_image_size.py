"""--image-size: the position embedding as torchvision interpolates it, and the same part of the picture."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.vision_transformer import interpolate_embeddings

import vit_runtime as vit
from vit_export import ExportRequest, PreprocessingOptions, export
from vit_export.channels import IMAGENET_MEAN, IMAGENET_STD
from vit_export.errors import CheckpointError
from vit_export.read.picture_preparation import in_proportion
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import UsageError


def answers_at(size, state, pytorch, pixels):
    """The tiny model at another size, with the positions that torchvision's own function gives."""
    resized = interpolate_embeddings(size, 8, OrderedDict((name, t.float()) for name, t in state.items()))
    return pytorch.run(pytorch.tiny(resized, image_size=size), pytorch.normalise(pixels))


@pytest.mark.parametrize("size", [8, 16, 24, 40, 64])
def test_positions_are_those_of_torchvisions_interpolation(size, tiny_state, export_state, pytorch, random_pixels):
    pixels = random_pixels(3, size)
    logits, embedding = answers_at(size, tiny_state, pytorch, pixels)

    ours = vit.load(export_state(tiny_state, image_size=size).path).run(pixels)

    assert logits.std(axis=1).min() > 0.1
    np.testing.assert_allclose(ours[0], logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours[1], embedding, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_interpolated_in_full_precision(
    dtype, tiny_state, export_state, pytorch, random_pixels
):
    tiny_state["encoder.pos_embedding"] *= 20  # large enough for a rounding of it to show
    halves = {name: tensor.to(dtype) for name, tensor in tiny_state.items()}
    pixels = random_pixels(1, 48)
    logits, _ = answers_at(48, halves, pytorch, pixels)
    ours, _ = vit.load(export_state(halves, image_size=48).path).run(pixels)
    np.testing.assert_allclose(ours, logits, rtol=0, atol=2e-5)


def test_the_models_own_size_changes_nothing(tiny_checkpoint, tiny_artifact, folder, random_pixels):
    same = export(ExportRequest(model=str(tiny_checkpoint), image_size=32, output=folder))
    pixels = random_pixels(2, 32)
    for ours, before in zip(vit.load(same.path).run(pixels), vit.load(tiny_artifact).run(pixels), strict=True):
        np.testing.assert_array_equal(ours, before)


@pytest.mark.parametrize(
    ("edge", "trained_at", "size", "expected"),
    [
        (256, 224, 384, 439),  # torchvision's classic preset: 438.86
        (256, 224, 112, 128),
        (242, 224, 448, 484),  # vit_l_16
        (384, 384, 224, 224),  # SWAG resizes to the crop itself
        (518, 518, 364, 364),
    ],
)
def test_the_resize_keeps_its_proportion_to_the_crop(edge, trained_at, size, expected):
    before = Preprocessing(
        resize_shortest_edge=edge,
        resize_hw=None,
        crop_hw=(trained_at, trained_at),
        crop_rounding="half_even",
        interpolation="bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    after = in_proportion(before, "preprocessor_config.json").at(size)
    assert (after.resize_shortest_edge, after.crop_hw) == (expected, (size, size))


@pytest.mark.parametrize("size", [16, 48, 64])
def test_the_artifact_says_the_new_sizes(size, tiny_state, export_state):
    artifact = export_state(tiny_state, image_size=size).artifact
    assert artifact.architecture.image_size == size
    assert artifact.preprocessing.crop_hw == (size, size)
    assert abs(artifact.preprocessing.resize_shortest_edge - size * 37 / 32) <= 0.5  # 32 px come with a resize to 37


def test_a_resize_that_is_asked_for_is_taken_as_it_is(tiny_state, export_state):
    artifact = export_state(tiny_state, image_size=48, preprocessing=PreprocessingOptions(resize=50)).artifact
    assert artifact.preprocessing.resize_shortest_edge == 50


@pytest.mark.parametrize(
    ("size", "nearest"),
    [(30, "24 or 32"), (33, "32 or 40"), (39, "32 or 40"), (7, "8 or 16"), (1, "8 or 16")],
)
def test_a_size_that_patches_do_not_fill_is_refused_with_the_two_nearest(
    size, nearest, tiny_state, export_state, folder, files_in
):
    with pytest.raises(UsageError, match=rf"^image_size: {size} .* patch size 8; take {nearest}$"):
        export_state(tiny_state, image_size=size)
    assert files_in(folder) == ["weights.safetensors"]


def test_a_checkpoint_that_does_not_fit_is_reported_in_its_own_shapes(tiny_state, folder):
    tiny_state["encoder.ln.weight"] = torch.ones(5)
    save_file(tiny_state, folder / "wrong.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder\.ln\.weight is \(5,\) where \(128,\) belongs"):
        export(ExportRequest(model=str(folder / "wrong.safetensors"), image_size=64, output=folder / "out.onnx"))
