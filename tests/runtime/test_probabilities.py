"""Probabilities of both kinds, wherever they are given: shares of one (softmax), or each class's own (sigmoid)."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.cameras import write_video

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Probabilities
from vit_runtime.probabilities import logits_for, probabilities
from vit_runtime.watching import watch
from vit_runtime.watching.smoothing import Smoother

Edit = Callable[..., Path]
Encode = Callable[..., bytes]
Run = Callable[..., Any]
KINDS: tuple[Probabilities, ...] = ("softmax", "sigmoid")
NOTE = "each class has a probability of its own (sigmoid): they do not add up to 100 %"

logits = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9)


def by_torch(row: Any, kind: Probabilities) -> np.ndarray:
    scores = torch.tensor(np.asarray(row), dtype=torch.float64)
    return np.asarray((scores.softmax(-1) if kind == "softmax" else scores.sigmoid()).numpy())


@pytest.fixture
def sigmoid_artifact(edit_artifact: Edit) -> Path:
    """The tiny model, whose head says that each class has a probability of its own."""
    return edit_artifact(document=lambda document: document["head"].update(probabilities="sigmoid"))


@pytest.fixture
def pictures(random_pictures: Callable[[int], list[UInt8Array]]) -> list[UInt8Array]:
    return random_pictures(4)


@pytest.mark.parametrize("kind", KINDS)
@given(row=logits)
def test_any_logits_have_pytorchs_probabilities(kind: Probabilities, row: list[float]):
    found = probabilities(np.array(row, np.float32), kind)
    np.testing.assert_allclose(found, by_torch(np.array(row, np.float32), kind), rtol=1e-12, atol=1e-300)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_logits_are_apart_from_each_other(kind: Probabilities):
    rows = np.random.default_rng(seed=1).normal(0, 20, (5, 7)).astype(np.float32)
    np.testing.assert_allclose(probabilities(rows, kind), by_torch(rows, kind), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_found_again(kind: Probabilities):
    shares = by_torch(np.random.default_rng(seed=2).normal(0, 5, 20), kind)
    np.testing.assert_allclose(probabilities(logits_for(shares, kind), kind), shares, rtol=1e-5)
    edges = np.array([0.0, 1.0])
    assert np.isfinite(logits_for(edges, kind)).all()
    np.testing.assert_allclose(probabilities(logits_for(edges, kind), kind), edges, atol=1e-300)


def test_classify_gives_each_class_its_own(sigmoid_artifact: Path, tiny: vit.ViT, pictures: list[UInt8Array]):
    with vit.load(sigmoid_artifact) as model:
        assert (model.probability_kind, tiny.probability_kind) == ("sigmoid", "softmax")
        for picture, row in zip(pictures, tiny.logits(pictures), strict=True):
            found = model.classify(picture, top_k=7)
            assert [each.index for each in found] == [each.index for each in tiny.classify(picture, top_k=7)]
            assert {each.kind for each in found} == {"sigmoid"}
            expected = by_torch(row, "sigmoid")
            assert [each.probability for each in found] == pytest.approx([expected[each.index] for each in found])


def test_the_command_line_says_of_which_kind_they_are(
    sigmoid_artifact: Path, tiny_artifact: Path, photo: Path, vit_run: Run, tmp_path: Path
):
    expected = by_torch(vit.load(tiny_artifact).logits(photo)[0], "sigmoid")
    best = int(expected.argmax())
    done = vit_run("classify", sigmoid_artifact, photo, "--top", 1)
    assert done.stdout.splitlines()[1] == f"  {expected[best]:7.2%}  class {best}"
    assert NOTE in done.stderr.splitlines()
    assert NOTE not in vit_run("classify", tiny_artifact, photo).stderr
    assert NOTE not in vit_run("embed", sigmoid_artifact, photo).stderr

    line = json.loads(vit_run("classify", sigmoid_artifact, photo, "--json").stdout)
    assert {each["kind"] for each in line["predictions"]} == {"sigmoid"}
    assert line["predictions"][0]["probability"] == pytest.approx(expected[best])
    line = json.loads(vit_run("classify", tiny_artifact, photo, "--json").stdout)
    assert {each["kind"] for each in line["predictions"]} == {"softmax"}

    assert vit_run("classify", sigmoid_artifact, photo, "-o", tmp_path / "classes.csv").exit_code == 0
    with (tmp_path / "classes.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["probability"]) == pytest.approx(expected[best])

    assert "each class has its own (sigmoid)" in vit_run("info", sigmoid_artifact).stdout
    assert "sigmoid" not in vit_run("info", tiny_artifact).stdout


def test_ray_s_columns_are_of_the_same_kind(
    sigmoid_artifact: Path, tiny: vit.ViT, pictures: list[UInt8Array], encode: Encode
):
    pytest.importorskip("pyarrow")
    from vit_runtime.ray import Predictor

    encoded = np.empty(len(pictures), object)
    encoded[:] = [encode(picture, "PNG") for picture in pictures]
    expected = by_torch(tiny.logits(pictures), "sigmoid")
    table = Predictor(sigmoid_artifact, answers="probabilities")({"bytes": encoded})
    np.testing.assert_allclose(table["probabilities"].to_pylist(), expected, rtol=1e-5)
    table = Predictor(sigmoid_artifact, top_k=3)({"bytes": encoded})
    np.testing.assert_allclose(table["probabilities"].to_pylist(), -np.sort(-expected)[:, :3], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_averages_probabilities_of_the_kind(kind: Probabilities):
    smoother = Smoother(2.0, kind)
    rows = np.random.default_rng(seed=3).normal(0, 4, (6, 5)).astype(np.float32)
    expected = by_torch(rows[0], kind)
    for number, row in enumerate(rows):
        keep = math.exp(-0.5 / 2.0) if number else 0.0
        expected = keep * expected + (1 - keep) * by_torch(row, kind)
        found = smoother.smoothed(row, number * 0.5)
        np.testing.assert_allclose(by_torch(found, kind), expected, rtol=1e-4)


def test_a_film_of_classes_of_their_own(
    sigmoid_artifact: Path, tiny: vit.ViT, pictures: list[UInt8Array], tmp_path: Path, vit_run: Run
):
    film = write_video(tmp_path / "film.mp4", [picture for picture in pictures for _ in range(3)])
    with vit.load(sigmoid_artifact) as model:
        (first, *_) = watch(model, film, smooth=1.0, top_k=7)
    found = {each.index: each.probability for each in first.predictions}
    (plain, *_) = watch(tiny, film, top_k=7)
    assert sum(each.probability for each in plain.predictions) == pytest.approx(1)
    ratios = np.log([found[each.index] / (1 - found[each.index]) for each in plain.predictions])
    shares = np.log([each.probability for each in plain.predictions])
    np.testing.assert_allclose(ratios - ratios[0], shares - shares[0], atol=1e-4)  # both are the logits' differences
    done = vit_run("watch", sigmoid_artifact, film, "--json", "--smooth", 1)
    assert NOTE in done.stderr.splitlines()
    assert {each["kind"] for line in done.stdout.splitlines() for each in json.loads(line)["predictions"]} == {
        "sigmoid"
    }
