"""Few-shot classes with real weights and photos: as accurate as scikit-learn on PyTorch's embeddings, and in int8.

`pytest -m slow --log-cli-level=INFO` shows the figures.
"""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from torchvision.models import VisionTransformer

import vit_runtime as vit
from vit_export import ExportRequest, PreprocessingOptions, export
from vit_export.heads.doubtful import groups_of, twins
from vit_export.heads.fitting import choose, folds_of
from vit_export.heads.linear_head import directions
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import ExampleClasses, Preprocessing

pytestmark = pytest.mark.slow

LOG: Final = logging.getLogger(__name__)
MOST: Final = 20
BY_NUMBER: Final = {
    "bird": (range(7, 25), range(80, 101), range(127, 147)),
    "dog": (range(151, 269),),
    "reptile": (range(33, 69),),
    "insect": (range(300, 327),),
    "monkey": (range(365, 385),),
}
"""ImageNet's classes, whose order is that of its tree, at least among animals."""
BY_NAME: Final = {
    "road vehicle": "barrow beach_wagon bicycle-built-for-two cab half_track jeep jinrikisha minibus minivan "
    "motor_scooter oxcart police_van snowmobile thresher tow_truck tractor tricycle trolleybus unicycle",
    "boat": "canoe catamaran container_ship fireboat gondola liner paddlewheel pirate schooner speedboat yawl",
    "musical instrument": "acoustic_guitar banjo bassoon cello chime drumstick electric_guitar flute French_horn harp "
    "marimba ocarina sax steel_drum",
    "food": "artichoke banana butternut_squash cardoon cauliflower chocolate_sauce custard_apple fig French_loaf "
    "Granny_Smith guacamole head_cabbage hot_pot hotdog ice_cream meat_loaf orange potpie pretzel spaghetti_squash",
    "clothing": "academic_gown bonnet cardigan clog cowboy_boot feather_boa fur_coat gown jean jersey kimono Loafer "
    "maillot military_uniform mitten running_shoe sandal sock sombrero stole suit swimming_trunks Windsor_tie",
}


def all_photos(data: Path) -> dict[str, list[Path]]:
    """Photos by ten classes of our own: one photo of each class of ImageNet."""
    with (data / "photos" / "labels.csv").open() as file:
        rows = [(data / "photos" / row["file"], int(row["class_index"])) for row in csv.DictReader(file)]
    found = {
        label: [path for path, number in rows if any(number in part for part in parts)]
        for label, parts in BY_NUMBER.items()
    }
    for label, names in BY_NAME.items():
        found[label] = [path for path, _ in rows if re.sub(r"^n\d+_", "", path.stem) in names.split()]
    assert all(len(paths) >= 10 for paths in found.values())
    return dict(sorted(found.items()))


def groups(data: Path) -> dict[str, list[Path]]:
    """The same, at most twenty of each, evenly spread."""
    return {
        label: [paths[index * len(paths) // MOST] for index in range(MOST)] if len(paths) > MOST else paths
        for label, paths in all_photos(data).items()
    }


def linked(folder: Path, photos: dict[str, list[Path]]) -> Path:
    for label, paths in photos.items():
        (folder / label).mkdir(parents=True)
        for path in paths:
            (folder / label / path.name).symlink_to(path)
    return folder


def request_of(encoder: str, data: Path, **options: Any) -> ExportRequest:
    if encoder == "dinov2_small":
        return ExportRequest(model=data / encoder, **options)
    preparation = PreprocessingOptions(interpolation="bicubic")
    return ExportRequest(model=data / f"{encoder}.safetensors", preprocessing=preparation, **options)


def pytorchs(encoder: str, data: Path, paths: list[Path], preparation: Preprocessing) -> FloatArray:
    """The embeddings (N, D) that torchvision's or transformers' own model gives."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (preparation.mean, preparation.std))
    model: Any
    if encoder == "dinov2_small":
        model = transformers.Dinov2Model.from_pretrained(data / encoder, dtype=torch.float32).eval()
    else:
        model = VisionTransformer(
            image_size=224, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768
        ).eval()
        # As timm has DeiT, whose epsilon torchvision's default is too.
        model.load_state_dict(load_file(data / f"{encoder}.safetensors"))
        model.heads = torch.nn.Identity()
    rows = []
    with torch.inference_mode():
        for path in paths:
            pixels = torch.tensor(vit.load_pixels(path, preparation).transpose(2, 0, 1))
            answer = model(((pixels / 255 - mean) / std)[None])
            rows.append(answer if encoder != "dinov2_small" else answer.last_hidden_state[:, 0])
    return torch.cat(rows).numpy()


def sklearns(x: FloatArray, labels: Any, folds: Any, chosen: tuple[Any, ...]) -> float:
    """Accuracy of scikit-learn's own classifiers, of the kind that was chosen for each fold."""
    right = 0
    for fold, candidate in zip(np.unique(folds), chosen, strict=True):
        made = {
            "logistic regression": LogisticRegression(C=candidate.strength, max_iter=10_000, tol=1e-8),
            "nearest example": KNeighborsClassifier(1, metric="cosine"),
        }[candidate.method]
        held_out = folds == fold
        made.fit(x[~held_out], labels[~held_out])
        right += int((made.predict(x[held_out]) == labels[held_out]).sum())
    return right / len(labels)


def facts_of(exported: Any) -> ExampleClasses:
    facts = exported.artifact.head.examples
    assert isinstance(facts, ExampleClasses)
    return facts


@pytest.fixture(scope="module", params=["deit_tiny_patch16_224", "dinov2_small"])
def encoder(request: pytest.FixtureRequest) -> str:
    return request.param


def test_as_accurate_as_scikit_learn_on_pytorchs_embeddings(encoder: str, data: Path, tmp_path: Path):
    photos = groups(data)
    folder = linked(tmp_path / "photos", photos)
    exported = export(request_of(encoder, data, examples=folder, unknown=True, output=tmp_path / "x.onnx"))
    facts = facts_of(exported)
    paths = [path for label in sorted(photos) for path in sorted(photos[label])]
    labels = np.repeat(np.arange(len(photos)), [len(each) for _, each in sorted(photos.items())])
    embeddings = torch.tensor(pytorchs(encoder, data, paths, exported.artifact.preprocessing))
    x = F.normalize(embeddings, dim=1).double().numpy()
    folds = folds_of(labels, groups_of(len(x), twins(x)))
    measured = choose(x, labels, folds)
    theirs = sklearns(x, labels, folds, measured.chosen)
    nearest = sum(
        int(
            (
                KNeighborsClassifier(1, metric="cosine")
                .fit(x[folds != fold], labels[folds != fold])
                .predict(x[folds == fold])
                == labels[folds == fold]
            ).sum()
        )
        for fold in np.unique(folds)
    ) / len(x)
    LOG.info("%s: %s, %s; scikit-learn %.4f", encoder, facts.method, facts.accuracy, theirs)
    LOG.info("1-nearest neighbour %.4f; unknown %s", nearest, facts.unknown)
    assert facts.accuracy.share == pytest.approx(theirs, abs=1e-3)
    assert facts.accuracy.share >= nearest - 0.02


SPLITS: Final = 20
LEARNED: Final = 10


@pytest.fixture(scope="module")
def embeddings(encoder: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`embeddings(precision)`: the directions of all photos (N, E), as an exported file gives them."""
    photos = [path for paths in all_photos(data).values() for path in paths]
    folder, found = tmp_path_factory.mktemp(encoder), {}

    def measure(precision: str) -> Any:
        if precision not in found:
            options: dict[str, Any] = {} if precision == "fp32" else {"precision": "int8"}
            if precision == "static":
                options["calibrate"] = data / "calibration"
            file = export(request_of(encoder, data, output=folder / f"{precision}.onnx", **options)).path
            found[precision] = directions(vit.load(file, purpose="throughput").embed(photos))
        return found[precision]

    return measure


def accuracy(learned: Any, asked: Any, labels: Any, chosen: Any) -> float:
    """The share of photos that were not chosen whose class is told, by a head fitted to those that were."""
    x = learned[chosen]
    head = choose(x, labels[chosen], folds_of(labels[chosen], groups_of(len(x), twins(x)))).head
    return float((head.logits(asked[~chosen]).argmax(axis=1) == labels[~chosen]).mean())


@pytest.mark.parametrize("precision", ["dynamic", "static"])
def test_int8_costs_less_than_a_point(precision: str, encoder: str, data: Path, embeddings: Any):
    """On photos that no head has seen, on average over twenty choices of ten photos a class to learn from.

    One choice leaves 134 photos, of which one is nearly a point. The head is fitted to what the float32 graph sees, as
    `vit-export MODEL --examples` does, and to what the int8 graph sees, as `vit-export FILE.onnx --examples` does.
    """
    fp32, int8 = embeddings("fp32"), embeddings(precision)
    labels = np.repeat(np.arange(10), [len(paths) for paths in all_photos(data).values()])
    found = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(labels))
        chosen = np.zeros(len(labels), bool)
        for label in range(10):
            of_class = order[labels[order] == label]
            chosen[of_class[: min(LEARNED, len(of_class) // 2)]] = True
        pairs = ((fp32, fp32), (fp32, int8), (int8, int8))
        found.append([accuracy(learned, asked, labels, chosen) for learned, asked in pairs])
    mean = np.mean(found, axis=0)
    differences = np.array(found)[:, 1:] - np.array(found)[:, :1]
    error = differences.std(axis=0, ddof=1) / SPLITS**0.5
    LOG.info(
        "%s %s: fp32 %.4f, its head in int8 %.4f, own head %.4f; standard error %s", encoder, precision, *mean, error
    )
    assert min(mean[1:]) >= mean[0] - 0.01
