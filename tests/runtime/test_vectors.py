"""Embeddings in files, and the pictures that are most alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity

import vit_runtime as vit
from vit_runtime.vectors import normalized


@pytest.fixture
def photos(random_pictures, tmp_path) -> Path:
    """Four pictures, and a little changed copy of the first."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures = random_pictures(4)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index}.png")
    Image.fromarray(np.clip(pictures[0].astype(int) + 3, 0, 255).astype(np.uint8)).save(folder / "0 brighter.png")
    return folder


def test_normalized_rows_have_length_one(tiny, photos):
    paths = sorted(photos.iterdir())
    plain, unit = tiny.embed(paths), tiny.embed(paths, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit @ unit.T, cosine_similarity(plain), atol=1e-6)


def test_a_row_of_zeros_stays():
    np.testing.assert_array_equal(normalized(np.zeros((1, 4), np.float32)), np.zeros((1, 4)))


@pytest.mark.parametrize("normalize", [False, True])
def test_npy_and_jsonl_hold_the_same(normalize, tiny, tiny_artifact, photos, tmp_path, vit_run):
    options = ["--normalize"] if normalize else []
    for name in ("vectors.npy", "vectors.jsonl"):
        result = vit_run("embed", tiny_artifact, photos, "-o", tmp_path / name, *options)
        assert (result.exit_code, result.stdout) == (0, "")
    paths = sorted(photos.iterdir())
    expected = tiny.embed(paths, normalize=normalize)
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected, atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "vectors.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [str(path) for path in paths]
    np.testing.assert_array_equal(
        np.array([line["embedding"] for line in lines], np.float32), np.load(tmp_path / "vectors.npy")
    )


def test_a_broken_picture(tiny_artifact, photos, tmp_path, vit_run):
    """Rows without names must not shift: no .npy at all. Lines have names: the others are written."""
    (photos / "1 broken.png").write_bytes(b"no picture")
    for name, written in (("vectors.npy", False), ("vectors.jsonl", True)):
        result = vit_run("embed", tiny_artifact, photos, "-o", tmp_path / name)
        assert result.exit_code == 1
        assert "1 broken.png: not an image" in result.stderr
        assert (tmp_path / name).exists() is written
    records = [json.loads(line) for line in (tmp_path / "vectors.jsonl").read_text().splitlines()]
    assert [sorted(record) for record in records].count(["embedding", "image"]) == 5
    assert [record["image"] for record in records if "error" in record] == [str(photos / "1 broken.png")]


@pytest.mark.parametrize("name", ["vectors.txt", "vectors", "no/vectors.npy"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(name, tiny_artifact, photos, tmp_path, vit_run):
    result = vit_run("embed", tiny_artifact, photos, "-o", tmp_path / name)
    assert result.exit_code == (1 if "/" in name else 2)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1  # the model was not even loaded


class TestSimilar:
    def test_the_changed_copy_comes_first(self, tiny_artifact, photos, vit_run):
        result = vit_run("similar", tiny_artifact, photos / "0.png", photos, "--top", "2")
        assert result.exit_code == 0
        first, second = result.stdout.splitlines()
        assert first.endswith("0 brighter.png")
        assert float(first.split()[0]) > float(second.split()[0])

    def test_json_lists_all_but_the_query(self, tiny, tiny_artifact, photos, vit_run):
        result = vit_run("similar", tiny_artifact, photos / "2.png", photos, "--json", "--top", "99")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert {line["image"] for line in lines} == {str(path) for path in photos.iterdir()} - {str(photos / "2.png")}
        for line in lines:
            pair = tiny.embed([photos / "2.png", line["image"]])
            assert abs(line["cosine"] - cosine_similarity(pair)[0, 1]) < 1e-6

    def test_a_broken_picture_is_named_and_the_others_go_on(self, tiny_artifact, photos, vit_run):
        (photos / "1 broken.png").write_bytes(b"no picture")
        result = vit_run("similar", tiny_artifact, photos / "0.png", photos)
        assert result.exit_code == 1
        assert "1 broken.png: not an image" in result.stderr
        assert len(result.stdout.splitlines()) == 4

    def test_a_query_that_is_no_picture(self, tiny_artifact, photos, vit_run):
        result = vit_run("similar", tiny_artifact, photos / "none.png", photos)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "none.png: no such file" in result.stderr

    def test_nothing_to_compare_with(self, tiny_artifact, photos, vit_run):
        result = vit_run("similar", tiny_artifact, photos / "0.png", photos / "0.png")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "no picture besides" in result.stderr


def test_a_model_without_a_head_cannot_classify(tiny, picture, edit_artifact):
    def without_head(document):
        document["outputs"] = ["embedding"]
        document["architecture"]["classes"] = 0
        document["head"] = None
        for part in ("self_test", "verification"):
            outputs = document[part]["outputs"]
            document[part]["outputs"] = [answer for answer in outputs if answer["output"] == "embedding"]

    def drop_logits(graph):
        (logits,) = (output for output in graph.output if output.name == "logits")
        graph.output.remove(logits)

    model = vit.load(edit_artifact(document=without_head, graph=drop_logits))
    np.testing.assert_array_equal(model.embed(picture), tiny.embed(picture))
    with pytest.raises(vit.ArtifactError, match=r"has no classification head.*take its embeddings"):
        model.classify(picture)
