"""The same answers as torchvision's own models, at full size and with real weights."""

from __future__ import annotations

import csv
import gc
import logging
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
from vit_export.read.torchvision_state import random_state

LOG = logging.getLogger(__name__)
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
def test_a_full_size_model_answers_as_torchvision_does(name, folder, files_in, pytorch, random_pixels):
    exported = export(ExportRequest(model=name, weights="random", seed=SEED, output=folder))
    assert exported.artifact.source.seed == SEED
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
    LOG.info("%s: largest differences %s", name, differences)  # shown by --log-cli-level=INFO
    assert max(differences.values()) < TOLERANCE, differences
    check_files(exported, files_in(folder))


def check_files(exported, files):
    """One file up to protobuf's 2 GB, and one of weights beside it above; ONNX's own checker takes either."""
    onnx.checker.check_model(str(exported.path))
    name = exported.path.name
    size = sum((exported.path.parent / file).stat().st_size for file in files)
    assert files == ([name, f"{name}.data"] if size > 2**31 else [name])


@pytest.fixture(
    scope="module", params=[pytest.param(20, id="25 photos"), pytest.param(1, id="500 photos", marks=pytest.mark.slow)]
)
def photos(data, request) -> dict[Path, int]:
    """Photos of ImageNet, no two of one class, with their class index."""
    with (data / "photos" / "labels.csv").open(newline="") as file:
        found = {data / "photos" / row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
    assert len(found) == 500
    return dict(list(found.items())[:: request.param])


@pytest.fixture(scope="module")
def reference(data, photos) -> np.ndarray:
    """PyTorch's logits of DeiT-Tiny, with torchvision's transforms."""
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
    path = export(request).path
    logits = vit.load(path).logits(list(photos))
    path.unlink()
    return logits


def test_every_photo_gets_the_same_answer(ours, reference, photos):
    assert (ours.argmax(1) == reference.argmax(1)).sum() == len(reference)
    difference = float(np.abs(ours - reference).max())
    LOG.info("%d photos: largest difference of a logit %.2e", len(photos), difference)
    assert difference < TOLERANCE


def test_the_answers_are_as_right_as_a_trained_model_is(ours, reference, photos):
    truth = np.array(list(photos.values()))
    accuracy = (ours.argmax(1) == truth).mean()
    assert accuracy == (reference.argmax(1) == truth).mean()
    assert accuracy > 0.70


def rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
