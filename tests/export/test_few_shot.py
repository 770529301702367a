"""`vit-export --examples`: heads fitted to photos, against scikit-learn, PyTorch, and formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from torchvision.models import VisionTransformer

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.heads.doubtful import doubtful, groups_of, twins
from vit_export.heads.fitting import choose, folds_of, share
from vit_export.heads.linear_head import Candidate, Doubles, candidates, directions, fit
from vit_export.heads.unknown import unknown_class
from vit_runtime.probabilities import probabilities

from .example_photos import COLOURS, photo, photos
from .hf_models import make, save

LABELS = tuple(sorted(COLOURS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


def clusters(classes: int = 4, each: int = 12, width: int = 16, noise: float = 0.8) -> tuple[Doubles, Any]:
    """Directions about a centre for each class, which overlap a little, and their classes."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, width))
    values = np.repeat(centres, each, axis=0) + noise * random.normal(size=(classes * each, width))
    return directions(values), np.repeat(np.arange(classes), each)


# The fit, on arrays.


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_is_scikit_learns(classes: int):
    x, labels = clusters(classes)
    (head,) = fit((Candidate("logistic regression", 30.0),), x, labels, classes)
    theirs = LogisticRegression(C=30.0, max_iter=10_000, tol=1e-8).fit(x, labels)
    np.testing.assert_allclose(probabilities(head.logits(x), "softmax"), theirs.predict_proba(x), atol=1e-3)


def test_the_nearest_example_is_a_nearest_neighbour():
    x, labels = clusters()
    known, asked = np.arange(len(x)) % 3 > 0, np.arange(len(x)) % 3 == 0
    (head,) = fit((Candidate("nearest example", 8.0),), x[known], labels[known], 4)
    theirs = KNeighborsClassifier(1, metric="cosine").fit(x[known], labels[known])
    assert (head.logits(x[asked]).argmax(1) == theirs.predict(x[asked])).all()


def test_class_means_are_cosines():
    x, labels = clusters()
    (head,) = fit((Candidate("class means", 8.0),), x, labels, 4)
    means = np.stack([x[labels == label].mean(0) for label in range(4)])
    expected = 8 * F.cosine_similarity(torch.tensor(x)[:, None], torch.tensor(means)[None], dim=2)
    np.testing.assert_allclose(head.logits(x), expected.numpy(), atol=1e-12)


def test_a_class_without_photos_is_never_told():
    x, labels = clusters()
    seen = labels != 2
    for head in fit(candidates(12), x[seen], labels[seen], 4):
        assert probabilities(head.logits(x), "softmax")[:, 2].max() < 1e-9


def test_few_photos_make_no_regression():
    assert {each.method for each in candidates(4)} == {"class means", "nearest example"}
    assert "logistic regression" in {each.method for each in candidates(5)}


def test_the_measured_accuracy_is_that_of_heads_that_had_not_seen_the_photo():
    """Labels without any sense are told no better than by chance, whatever the head remembers."""
    x, labels = clusters(each=25)
    senseless = np.random.default_rng(1).permutation(labels)
    measured = choose(x, senseless, folds_of(senseless, np.arange(len(x))))
    assert (measured.told == senseless).mean() < 0.4


def test_folds_have_their_share_of_each_class_and_tear_no_group():
    _, labels = clusters()
    groups = np.arange(len(labels)) // 2
    folds = folds_of(labels, groups)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    assert np.abs(confusion_matrix(labels, folds)[:4] - 12 / 5).max() <= 2


@pytest.mark.parametrize(("count", "of"), [(0, 7), (7, 7), (137, 164)])
def test_the_interval_is_wilsons(count: int, of: int):
    scipy_stats = pytest.importorskip("scipy.stats")
    expected = scipy_stats.binomtest(count, of).proportion_ci(method="wilson")
    found = share(count, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


# What is said of the photos.


def test_photos_in_the_wrong_folder_are_found():
    x, labels = clusters(noise=0.3)
    wrong = labels.copy()
    wrong[[3, 20]] = 3, 0
    measured = choose(x, wrong, folds_of(wrong, np.arange(len(x))))
    assert sorted(doubtful(measured.probabilities, wrong)) == [3, 20]


def test_twins_are_found_and_kept_together():
    x, _ = clusters()
    nearly = directions(x[:1] + 0.01 * np.random.default_rng(2).normal(size=x[:1].shape))
    pairs = twins(np.concatenate([x, nearly]))
    assert [(first, second) for first, second, _ in pairs] == [(0, len(x))]
    group = groups_of(len(x) + 1, pairs)
    assert group[0] == group[-1]
    assert len(set(group)) == len(x)


def test_the_class_for_unknown_pictures_wins_below_the_threshold_alone():
    x, labels = clusters(noise=0.3)
    folds = folds_of(labels, np.arange(len(x)))
    unknown = unknown_class(x, labels, folds)
    others = directions(np.random.default_rng(3).normal(size=(50, x.shape[1])))
    for asked in (x, others):
        lead = (asked @ unknown.weight.T + unknown.bias).min(axis=1)  # of its logit, over the largest other one
        below = (asked @ x.T).max(axis=1) < unknown.facts.threshold
        assert ((lead > 0) == below).all()
    assert unknown.facts.found.share > 0.9
    assert unknown.facts.refused.share < 0.1


# Whole exports.


def test_an_export_tells_the_classes(tiny_checkpoint: Path, folder: Path, tmp_path: Path):
    exported = export(ExportRequest(model=tiny_checkpoint, examples=folder, output=tmp_path))
    assert exported.path == tmp_path / f"tiny.{folder.name}.onnx"
    artifact = exported.artifact
    assert artifact.labels == LABELS
    assert artifact.architecture.classes == 3
    facts = artifact.head.examples  # type: ignore[union-attr]
    assert facts is not None
    assert (facts.photos, facts.embedded_by, facts.unreadable, facts.left_out) == ((6, 6, 6), "float32 graph", 0, 0)
    assert sum(facts.right) == facts.accuracy.count
    assert facts.accuracy.share > 0.8
    model = vit.load(exported.path)
    paths = sorted(folder.glob("*/*.png"))
    assert [each[0].label for each in model.classify(paths, top_k=1)] == [path.parent.name for path in paths]
    assert vit.check(vit.load(exported.path)).passed


@pytest.mark.parametrize("unknown", [False, True])
def test_logits_are_pytorchs(unknown: bool, tiny_checkpoint: Path, folder: Path, tmp_path: Path):
    """torchvision's own embeddings, and in PyTorch what scikit-learn would say of photos that it has fitted to."""
    output = tmp_path / "model.onnx"
    arch = export(
        ExportRequest(model=tiny_checkpoint, examples=folder, output=output, unknown=unknown)
    ).artifact.architecture
    state = load_file(tiny_checkpoint)
    theirs = VisionTransformer(
        image_size=arch.image_size,
        patch_size=arch.patch_size,
        num_layers=arch.layers,
        num_heads=arch.heads,
        hidden_dim=arch.width,
        mlp_dim=arch.mlp_width,
        num_classes=7,
    ).eval()
    theirs.load_state_dict(state)
    theirs.heads = torch.nn.Identity()
    model = vit.load(output)
    paths = sorted(folder.glob("*/*.png"))
    preparation = model.artifact.preprocessing
    pixels = np.stack([vit.load_pixels(path, preparation) for path in paths]).transpose(0, 3, 1, 2)
    mean, std = (torch.tensor(each)[:, None, None] for each in (preparation.mean, preparation.std))
    with torch.inference_mode():
        x = F.normalize(theirs((torch.tensor(pixels) / 255 - mean) / std), dim=1).double().numpy()
    labels = np.repeat(np.arange(3), 6)
    facts = model.artifact.head.examples  # type: ignore[union-attr]
    assert facts is not None
    (head,) = fit((Candidate(facts.method, facts.strength),), x, labels, 3)
    expected = head.logits(x)
    if unknown:
        assert model.artifact.labels == (*LABELS, "none of these")
        further = unknown_class(x, labels, folds_of(labels, groups_of(len(x), twins(x))))
        lead = (x @ further.weight.T + further.bias).min(axis=1)
        expected = np.column_stack([expected, expected.max(axis=1) + lead])
    np.testing.assert_allclose(model.logits(paths), expected, atol=2e-2)
    assert (model.logits(paths).argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("case", ["DINOv2", "DeiT with teacher", "DINOv3", "ViT"])
def test_encoders_of_other_kinds(case: str, folder: Path, tmp_path: Path):
    """The checkpoint's own head goes, and with it what only that head reads."""
    save(make(case), tmp_path / "model")
    exported = export(
        ExportRequest(model=tmp_path / "model", examples=folder, output=tmp_path / "x.onnx", unknown=True)
    )
    assert exported.artifact.labels == (*LABELS, "none of these")
    assert exported.artifact.architecture.pooling == "class_token"
    assert vit.check(vit.load(exported.path)).passed


def test_against_the_library(folder: Path, tmp_path: Path):
    save(make("DINOv2"), tmp_path / "model")
    request = ExportRequest(
        model=tmp_path / "model", examples=folder, output=tmp_path / "x.onnx", against="library", unknown=True
    )
    assert export(request).artifact.verification.reading == "library"


@pytest.mark.parametrize(
    "options", [{"precision": "int8"}, {"precision": "fp16", "target": "portable"}, {"target": "gpu"}]
)
def test_all_precisions_carry_the_head(options: dict[str, Any], tiny_checkpoint: Path, folder: Path, tmp_path: Path):
    output = tmp_path / "x.onnx"
    export(ExportRequest(model=tiny_checkpoint, examples=folder, output=output, unknown=True, **options))
    model = vit.load(output, provider="cpu")
    paths = sorted(folder.glob("*/*.png"))
    told = [each[0].label for each in model.classify(paths, top_k=1)]
    assert sum(label == path.parent.name for label, path in zip(told, paths, strict=True)) >= 15


def test_calibrated_int8_and_maps(tiny_checkpoint: Path, folder: Path, tmp_path: Path, vit_export_cli: Any):
    done = vit_export_cli(
        tiny_checkpoint,
        *("--examples", folder, "--unknown", "--precision", "int8", "--calibrate", folder, "--max-drop", "50"),
        *("--attention", "-o", tmp_path / "x.onnx"),
    )
    assert done.exit_code == 0, done.stderr
    assert "3, fitted to 18 photos as the float32 graph sees them" in done.stderr
    assert "95 % interval by Wilson" in done.stderr
    assert "'none of these' below a cosine of" in done.stderr
    assert vit.load(tmp_path / "x.onnx").attend(folder / "red" / "0.png").values.shape == (4, 4)


def test_info_tells_what_to_look_at(tiny_checkpoint: Path, tmp_path: Path, vit_run: Any):
    folder = photos(tmp_path / "photos")
    photo("red", 0).save(folder / "red" / "again.png")
    photo("red", 20).save(folder / "blue" / "wrong.png")
    (folder / "red" / "broken.png").touch()
    export(ExportRequest(model=tiny_checkpoint, examples=folder, output=tmp_path / "x.onnx", unknown=True))
    told = [" ".join(line.split()) for line in vit_run("info", tmp_path / "x.onnx").stdout.splitlines()]
    assert "photo 1 blue/wrong.png looks like 'red'" in " ".join(told)
    assert "pair 1 red/0.png and red/again.png (the same pixels)" in told
    assert "unreadable 1 photo skipped" in told
    assert "left out 1 photo, there twice or in several classes" in told
