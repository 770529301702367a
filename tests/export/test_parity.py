"""The same answers as torchvision's own models, at full size and with real weights."""

from __future__ import annotations

import csv
import gc
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torchvision.models import VisionTransformer, get_model
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

import vit_runtime as vit
from vit_export import ExportRequest, PreprocessingOptions, export
from vit_export.sources.torchvision_state import random_state

TOLERANCE = 1e-4
SEED = 5
MIN_SPREAD = 0.1
"""Standard deviation over classes: below, all logits are alike and a comparison of them proves nothing."""


def torchvision_answers(pytorch, name, architecture, pixels):
    with torch.device("meta"):
        model = get_model(name)
    model.load_state_dict(random_state(architecture, SEED), strict=True, assign=True)
    model.eval()
    return [pytorch.run(model, pytorch.normalise(batch)) for batch in (pixels[:1], pixels)]


def largest_difference(ours, reference):
    return float(np.abs(np.concatenate(ours) - np.concatenate(reference)).max())


@pytest.mark.parametrize(
    "name",
    [
        "vit_b_32",
        pytest.param("vit_b_16", marks=pytest.mark.slow),
        pytest.param("vit_l_16", marks=pytest.mark.slow),
        pytest.param("vit_l_32", marks=pytest.mark.slow),
        pytest.param("vit_h_14", marks=pytest.mark.slow),
    ],
)
def test_a_full_size_model_answers_as_torchvision_does(name, folder, files_in, pytorch, random_pixels, record_property):
    exported = export(ExportRequest(model=name, weights="random", seed=SEED, output=folder))
    pixels = random_pixels(3, exported.artifact.architecture.image_size)
    reference = torchvision_answers(pytorch, name, exported.artifact.architecture, pixels)
    gc.collect()  # PyTorch's weights go before onnxruntime loads its own: two of ViT-H do not fit everywhere

    model = vit.load(exported.path)
    ours = [model.run(batch) for batch in (pixels[:1], pixels)]

    logits = [answer[0] for answer in reference]
    assert min(part.std(axis=1).min() for part in logits) > MIN_SPREAD
    differences = {
        "logits": largest_difference([answer[0] for answer in ours], logits),
        "embedding": largest_difference([answer[1] for answer in ours], [answer[1] for answer in reference]),
    }
    record_property("largest differences", differences)
    assert max(differences.values()) < TOLERANCE, differences
    check_files(exported, files_in(folder))


def check_files(exported, files):
    """One file up to protobuf's 2 GB, and one of weights beside it above; ONNX's own checker takes either."""
    onnx.checker.check_model(str(exported.path))
    name = exported.path.name
    parameters = sum(Path(exported.path.parent, file).stat().st_size for file in files)
    assert files == ([name, f"{name}.data"] if parameters > 2**31 else [name])


# DeiT-Tiny on 500 photos of ImageNet, one a class.


@pytest.fixture(scope="module")
def photos(data) -> dict[Path, int]:
    with (data / "photos" / "labels.csv").open(newline="") as file:
        found = {data / "photos" / row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
    assert len(found) == 500
    return found


@pytest.fixture(scope="module")
def reference(data, photos) -> np.ndarray:
    """PyTorch's logits with torchvision's transforms, one photo at a time."""
    model = VisionTransformer(
        image_size=224, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768
    ).eval()
    model.load_state_dict(load_file(data / "deit_tiny_patch16_224.safetensors"), strict=True)
    transforms = ImageClassification(crop_size=224, resize_size=256, interpolation=InterpolationMode.BICUBIC)
    with torch.inference_mode():
        return torch.cat([model(transforms(rgb(path))[None]) for path in photos]).numpy()


@pytest.fixture(scope="module")
def ours(data, photos, tmp_path_factory) -> np.ndarray:
    request = ExportRequest(
        model=str(data / "deit_tiny_patch16_224.safetensors"),
        preprocessing=PreprocessingOptions(interpolation="bicubic"),
        output=tmp_path_factory.mktemp("deit"),
    )
    return vit.load(export(request).path).logits(list(photos))


def test_every_photo_gets_the_same_answer(ours, reference):
    assert (ours.argmax(1) == reference.argmax(1)).sum() == 500
    assert np.abs(ours - reference).max() < TOLERANCE


def test_the_answers_are_as_right_as_a_trained_model_is(ours, reference, photos):
    truth = np.array(list(photos.values()))
    accuracy = (ours.argmax(1) == truth).mean()
    assert accuracy == (reference.argmax(1) == truth).mean()
    assert accuracy > 0.70


def rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
