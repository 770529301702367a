"""`preprocessor_config.json`: pictures come out as transformers' own image processors make them, byte for byte."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image, ImageOps

from vit_export.errors import CheckpointError
from vit_export.read.processor_config import FILE, preset, read_processor
from vit_runtime.artifact import Preprocessing
from vit_runtime.pictures.preprocess import load_pixels

from .hf_models import photo, refuse_network

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SQUARE_224 = {"height": 224, "width": 224}
FIFTH = 0.00392156862745098
"""1/255, as the files have it."""

VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    **HALF,
    "image_processor_type": "ViTImageProcessor",
    "resample": 2,
    "rescale_factor": FIFTH,
    "size": SQUARE_224,
}
DINOV2 = {
    "crop_size": SQUARE_224,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    **IMAGENET,
    "image_processor_type": "BitImageProcessor",
    "resample": 3,
    "rescale_factor": FIFTH,
    "size": {"shortest_edge": 256},
}
OLD_VIT = {"do_normalize": True, "do_resize": True, **HALF, "resample": 2, "size": 224}
OLD_DEIT = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "DeiTFeatureExtractor",
    **IMAGENET,
    "resample": 3,
    "size": 256,
}

FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    # What is written there as it was published: model type, processor, and the file.
    "google/vit-base-patch16-224-in21k": ("vit", "ViT", OLD_VIT),
    "google/vit-base-patch16-224, of 2021": ("vit", "ViT", OLD_VIT | {"feature_extractor_type": "ViTFeatureExtractor"}),
    "google/vit-base-patch16-224": ("vit", "ViT", VIT),
    "google/vit-base-patch16-384": ("vit", "ViT", VIT | {"size": {"height": 384, "width": 384}}),
    "facebook/deit-base-distilled-patch16-224": ("deit", "DeiT", OLD_DEIT),
    "facebook/deit-base-distilled-patch16-384": ("deit", "DeiT", OLD_DEIT | {"size": 438, "crop_size": 384}),
    "facebook/deit-base-patch16-224": ("vit", "DeiT", OLD_DEIT),  # without the distillation token it is a ViT
    "facebook/dino-vitb16": ("vit", "ViT", OLD_VIT | {"feature_extractor_type": "ViTFeatureExtractor"} | IMAGENET),
    "facebook/dinov2-base": ("dinov2", "Bit", DINOV2),
    "facebook/dinov2-with-registers-base": ("dinov2_with_registers", "Bit", DINOV2),
    # What transformers 4.50 and later saved: everything that it does not use is null.
    "saved by ViTImageProcessorFast": (
        "vit",
        "ViT",
        VIT
        | dict.fromkeys(
            ("crop_size", "do_center_crop", "do_convert_rgb", "do_pad", "device", "input_data_format", "return_tensors")
        )
        | {"image_processor_type": "ViTImageProcessorFast", "default_to_square": True},
    ),
    # Both keys, as after an update of an old file; the processor's counts, to which one number is the shortest edge.
    "both keys": ("vit", "Bit", DINOV2 | {"feature_extractor_type": "ViTFeatureExtractor", "size": 256}),
    "CLIP's": (
        "vit",
        "CLIP",
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3}
        | {"do_resize": True, "do_center_crop": True, "do_normalize": True}
        | IMAGENET,
    ),
    # Files that leave everything to the class.
    "nothing, ViT": ("vit", "ViT", {}),
    "nothing, DeiT": ("deit", "DeiT", {}),
    "nothing, DINOv2": ("dinov2", "Bit", {}),
    "the class alone, CLIP": ("vit", "CLIP", {"image_processor_type": "CLIPImageProcessor"}),
    # What users' own files have.
    "nearest, no square, then a square": (
        "dinov2",
        "Bit",
        DINOV2 | {"size": {"height": 199, "width": 301}, "crop_size": 99, "resample": 0},
    ),
    "lanczos": ("vit", "ViT", VIT | {"resample": 1, "size": [97, 97]}),
    "smaller than its crop": ("dinov2", "Bit", DINOV2 | {"size": {"shortest_edge": 99}, "crop_size": 224}),
    "smaller than its crop by an odd number": ("deit", "DeiT", OLD_DEIT | {"size": [301, 101], "crop_size": 224}),
    "not normalised": ("vit", "ViT", VIT | {"do_normalize": False}),
    "one number for all channels": ("vit", "ViT", VIT | {"image_mean": 0.25, "image_std": 0.75}),
}
SIZES_HW = ((61, 87), (333, 517), (500, 375), (97, 64), (256, 256), (257, 511), (224, 1021), (5, 40), (480, 223))
PHOTOS = tuple(map(photo, SIZES_HW))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    refuse_network(monkeypatch)


@pytest.fixture
def processor_of(tmp_path):
    """`processor_of(name, document)`: transformers' processor of that name, loaded from the same file."""

    def load(name: str, document: dict[str, Any]):
        (tmp_path / FILE).write_text(json.dumps(document))
        return getattr(transformers, name).from_pretrained(tmp_path)

    return load


def bytes_of(processor, picture: Image.Image) -> np.ndarray:
    """A processor's resize and crop alone: (H, W, 3), as it comes."""
    (pixels,) = processor(images=picture, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
    return pixels.transpose(1, 2, 0)


@pytest.mark.parametrize("name", FILES)
def test_pictures_have_the_bytes_of_transformers(name, processor_of):
    model_type, processor, document = FILES[name]
    preprocessing = read_processor(document, model_type, "there")
    theirs = processor_of(f"{processor}ImageProcessorPil", document)
    for picture in PHOTOS:
        expected = bytes_of(theirs, picture)
        assert expected.dtype == np.uint8
        np.testing.assert_array_equal(load_pixels(picture, preprocessing), expected, str(picture.size))


@pytest.mark.parametrize("name", FILES)
def test_normalised_as_transformers_does(name, processor_of):
    model_type, processor, document = FILES[name]
    preprocessing = read_processor(document, model_type, "there")
    (theirs,) = processor_of(f"{processor}ImageProcessorPil", document)(images=PHOTOS[0], return_tensors="np").values()
    ours = (load_pixels(PHOTOS[0], preprocessing) / 255 - preprocessing.mean) / preprocessing.std
    # Worst measured: 1.2e-7 beside our float64, of values up to 2.6.
    np.testing.assert_allclose(theirs[0].transpose(1, 2, 0), ours, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["facebook/dinov2-base", "smaller than its crop"])
def test_the_rounding_of_the_crop_counts(name):
    """Guards the test above: torchvision's rounding crops some of these pictures a pixel beside."""
    model_type, _, document = FILES[name]
    down = read_processor(document, model_type, "there")
    half_even = replace(down, crop_rounding="half_even")
    assert any((load_pixels(picture, down) != load_pixels(picture, half_even)).any() for picture in PHOTOS)


@pytest.mark.parametrize(
    "name", ["google/vit-base-patch16-224", "facebook/deit-base-distilled-patch16-224", "facebook/dinov2-base"]
)
def test_photos_have_the_bytes_of_transformers(name, data: Path, processor_of):
    model_type, processor, document = FILES[name]
    preprocessing = read_processor(document, model_type, "there")
    theirs = processor_of(f"{processor}ImageProcessorPil", document)
    paths = sorted((data / "photos").glob("*.[jJ]*"))[:: 500 // 40][:40]
    assert len(paths) == 40
    different = []
    for path in paths:
        picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        if not np.array_equal(load_pixels(path, preprocessing), bytes_of(theirs, picture)):
            different.append(path.name)
    assert not different


@pytest.mark.parametrize(
    ("name", "most"),
    [
        # Measured in steps of 0..255, torchvision 0.29: on this noise 1, 13 and 2, on 40 photos 1, 7 and 2. The second
        # squeezes pictures out of proportion with the bicubic filter.
        ("google/vit-base-patch16-224", 2),
        ("facebook/deit-base-distilled-patch16-224", 16),
        ("facebook/dinov2-base", 3),
    ],
)
def test_how_far_transformers_tensor_resize_is_off(name, most, processor_of):
    """transformers' default processors resize tensors with torchvision, and come near Pillow's bytes, not to them."""
    model_type, processor, document = FILES[name]
    preprocessing = read_processor(document, model_type, "there")
    theirs = processor_of(f"{processor}ImageProcessor", document)
    assert theirs.backend == "torchvision"
    steps = [
        np.abs(load_pixels(picture, preprocessing).astype(int) - bytes_of(theirs, picture).astype(int)).max()
        for picture in PHOTOS
    ]
    assert max(steps) <= most, steps


def test_without_a_file_pictures_are_prepared_as_for_the_published_models():
    for name, image_size in (
        ("google/vit-base-patch16-224", 224),
        ("google/vit-base-patch16-384", 384),
        ("facebook/deit-base-distilled-patch16-224", 224),
        ("facebook/dinov2-base", 518),
        ("facebook/dinov2-with-registers-base", 518),
    ):
        model_type, _, document = FILES[name]
        assert preset(model_type, image_size, "there") == read_processor(document, model_type, "there"), name


# What transformers would do and the runtime does not is refused, never done otherwise.


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"do_resize": False}, "ViTImageProcessor: do_resize is off, which is not supported"),
        ({"do_rescale": False}, "ViTImageProcessor: do_rescale is off, which is not supported"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor 0.0078.* is not supported, only 1/255"),
        ({"rescale_factor": 1.0}, "rescale_factor 1.0 is not supported, only 1/255"),
        ({"rescale_factor": "1/255"}, "rescale_factor 1/255 is not supported"),
        ({"resample": 4}, r"resample 4 is not supported, only \[0, 1, 2, 3\]"),
        ({"resample": 5}, "resample 5 is not supported"),
        ({"resample": "bicubic"}, "resample bicubic is not supported"),
        ({"resample": [3]}, r"resample \[3\] is not supported"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "image processor Siglip2ImageProcessor is not supported; "),
        ({"image_processor_type": "ViTHybridImageProcessor"}, "image processor ViTHybridImageProcessor is not"),
        ({"do_pad": True}, "ViTImageProcessor: do_pad is not supported"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is not supported"),
        ({"size": {"height": 224, "width": 256}}, "prepares pictures of 224x256, only squares are supported"),
        ({"do_center_crop": True, "crop_size": {"height": 224, "width": 192}}, "prepares pictures of 224x192"),
        ({"size": {"shortest_edge": 224}}, "a shortest edge without a centre crop is not supported"),
        ({"size": {"shortest_edge": 224, "longest_edge": 300}}, "size {.*} is not supported; known: height and width"),
        ({"size": {"longest_edge": 224}}, "size {'longest_edge': 224} is not supported"),
        ({"size": {"height": 224}}, "size {'height': 224} is not supported"),
        ({"size": 0}, "size 0 is no size"),
        ({"size": -224}, "size -224 is no size"),
        ({"size": 224.5}, "size 224.5 is no size"),
        ({"size": True}, "size True is no size"),
        ({"size": "224"}, "size 224 is no size"),
        ({"size": [224, 224, 224]}, r"size \[224, 224, 224\] is no size"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 224}}, "crop_size .* is no size"),
        ({"image_mean": [0.5, 0.5]}, r"image_mean \[0.5, 0.5\] is not three numbers"),
        ({"image_std": ["0.5", "0.5", "0.5"]}, "image_std .* is not three numbers"),
        ({"image_std": [0.5, 0.0, 0.5]}, "std .*0.0.* above zero"),
        ({"image_std": -0.5}, "std .*-0.5.* above zero"),
    ],
)
def test_what_the_runtime_does_not_do_is_refused(change, problem):
    with pytest.raises(CheckpointError) as caught:
        read_processor(VIT | change, "vit", "folder/preprocessor_config.json")
    message = str(caught.value)
    assert message.startswith("folder/preprocessor_config.json: ")
    assert re.search(problem, message), message
    assert "\n" not in message
    assert len(message) < 400


DEIT_WITH = {"image_processor_type": "DeiTImageProcessor"}


def test_null_turns_off_what_can_be_off(processor_of):
    """transformers keeps the null, and asks `if do_center_crop:`."""
    document = DEIT_WITH | {"do_center_crop": None, "do_normalize": None, "do_pad": None}
    ours: Preprocessing = read_processor(document, "deit", "there")
    theirs = processor_of("DeiTImageProcessorPil", document)
    expected = theirs(images=PHOTOS[1], return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    assert (ours.mean, ours.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    np.testing.assert_allclose(load_pixels(PHOTOS[1], ours) / 255, expected, atol=1e-7)


@pytest.mark.parametrize("key", ["resample", "size", "crop_size"])
def test_null_where_a_value_is_needed(key, processor_of):
    """transformers cannot prepare a picture with it either."""
    document = DEIT_WITH | {key: None}
    with pytest.raises(ValueError, match="must be specified"):
        bytes_of(processor_of("DeiTImageProcessorPil", document), PHOTOS[1])
    with pytest.raises(CheckpointError, match=key):
        read_processor(document, "deit", "there")


@pytest.mark.parametrize("key", ["do_resize", "do_rescale"])
def test_null_turns_off_what_has_to_be_on(key):
    with pytest.raises(CheckpointError, match=f"{key} is off, which is not supported"):
        read_processor(DEIT_WITH | {key: None}, "deit", "there")
