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


PRECISIONS: Final[dict[str, dict[str, Any]]] = {
    "fp32": {},
    "dynamic": {"precision": "int8"},
    "static": {"precision": "int8"},
}


@pytest.fixture(scope="module")
def split(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, Path]]]:
    """A folder of ten examples or fewer of each class, and all other photos by class."""
    examples = {label: paths[::2] for label, paths in groups(data).items()}
    others = [
        (label, path) for label, paths in all_photos(data).items() for path in paths if path not in examples[label]
    ]
    return linked(tmp_path_factory.mktemp("split") / "learned", examples), others


def share_right(path: Path, asked: list[tuple[str, Path]]) -> float:
    """The share of photos that a file gives their class."""
    told = vit.load(path).classify([photo for _, photo in asked], top_k=1)
    return float(np.mean([each[0].label == label for each, (label, _) in zip(told, asked, strict=True)]))


@pytest.fixture(scope="module")
def shares(encoder: str, data: Path, split: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`shares(precision)`: the shares of a head by the float32 graph, and of one by the file itself."""
    learned, asked = split
    folder, found = tmp_path_factory.mktemp(encoder), {}

    def measure(precision: str) -> tuple[float, float]:
        if precision not in found:
            options = PRECISIONS[precision]
            if precision == "static":
                options = options | {"calibrate": data / "calibration"}
            whole = export(request_of(encoder, data, examples=learned, output=folder / f"{precision}.onnx", **options))
            own = export(ExportRequest(model=whole.path, examples=learned, output=folder / f"{precision}.own.onnx"))
            found[precision] = share_right(whole.path, asked), share_right(own.path, asked)
        return found[precision]

    return measure


@pytest.mark.parametrize("precision", ["dynamic", "static"])
def test_a_head_from_int8_is_as_accurate(precision: str, encoder: str, split: Any, shares: Any):
    """On photos that no head has seen; to a hundredth, or one photo."""
    (expected, _), found, count = shares("fp32"), shares(precision), len(split[1])
    LOG.info("%s %s: %s of %d photos right; fp32 %.4f", encoder, precision, found, count, expected)
    assert min(found) >= expected - max(0.01, 1 / count + 1e-9)
