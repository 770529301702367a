"""`Predictor` by itself, as any program may call it: what it answers, the types of its columns, and what it refuses."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.without import run_without

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array

pa = pytest.importorskip("pyarrow")

from vit_runtime.ray import Predictor  # noqa: E402 - it comes with pyarrow

Encode = Callable[..., bytes]
NOT_A_PICTURE = b"no picture"
LABEL_TYPES = {"label": pa.string(), "index": pa.int32(), "probability": pa.float32()}
LIST_TYPES = {"labels": pa.string(), "indices": pa.int32(), "probabilities": pa.float32()}


@pytest.fixture(scope="module")
def pictures(random_pictures: Callable[[int], list[UInt8Array]]) -> list[UInt8Array]:
    return random_pictures(5)


@pytest.fixture
def encoded(pictures: list[UInt8Array], encode: Encode) -> list[bytes]:
    return [encode(picture, "PNG") for picture in pictures]


def column_of(values: list[object]) -> np.ndarray:
    """A column of Python objects, as Ray gives it."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def types_of(table: pa.Table) -> dict[str, pa.DataType]:
    return dict(zip(table.schema.names, table.schema.types, strict=True))


# Answers.


def test_labels_are_those_of_classify(labelled_artifact, encoded):
    table = Predictor(labelled_artifact)({"bytes": column_of(encoded), "path": np.array(["a", "b", "c", "d", "e"])})
    expected = [predictions[0] for predictions in vit.load(labelled_artifact).classify(encoded, top_k=1)]
    assert types_of(table) == {"path": pa.string(), **LABEL_TYPES, "error": pa.string()}
    assert table["path"].to_pylist() == ["a", "b", "c", "d", "e"]
    assert table["label"].to_pylist() == [prediction.label for prediction in expected]
    assert table["index"].to_pylist() == [prediction.index for prediction in expected]
    np.testing.assert_allclose(table["probability"], [prediction.probability for prediction in expected], rtol=1e-6)
    assert table["error"].null_count == len(encoded)


def test_several_labels_are_lists_beside_the_best(labelled_artifact, encoded):
    table = Predictor(labelled_artifact, top_k=3)({"bytes": column_of(encoded)})
    assert types_of(table) == {
        **LABEL_TYPES,
        **{name: pa.list_(kind) for name, kind in LIST_TYPES.items()},
        "error": pa.string(),
    }
    for row, predictions in zip(table.to_pylist(), vit.load(labelled_artifact).classify(encoded, top_k=3), strict=True):
        assert row["labels"] == [prediction.label for prediction in predictions]
        assert row["indices"] == [prediction.index for prediction in predictions]
        assert (row["label"], row["index"]) == (row["labels"][0], row["indices"][0])


def test_probabilities_are_pytorchs_softmax(tiny_artifact, pictures, tiny, ask_pytorch):
    torch = pytest.importorskip("torch")
    table = Predictor(tiny_artifact, answers="probabilities", pictures="arrays")({"image": column_of(pictures)})
    pixels = np.stack([vit.load_pixels(picture, tiny.artifact.preprocessing) for picture in pictures])
    expected = torch.softmax(torch.from_numpy(ask_pytorch(pixels)[0]), dim=1).numpy()
    assert types_of(table) == {"probabilities": pa.list_(pa.float32(), 7), "error": pa.string()}
    np.testing.assert_allclose(np.stack(table["probabilities"].to_numpy()), expected, atol=1e-5)


def test_embeddings_are_those_of_embed(tiny_artifact, pictures, tiny):
    table = Predictor(tiny_artifact, answers="embeddings", pictures="arrays")({"image": column_of(pictures)})
    assert types_of(table) == {"embedding": pa.list_(pa.float32(), 128), "error": pa.string()}
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), tiny.embed(pictures), atol=1e-5)


def test_an_error_is_one_row(labelled_artifact, encoded):
    rows = column_of([encoded[0], NOT_A_PICTURE, None, encoded[1][:60], encoded[1]])
    table = Predictor(labelled_artifact, top_k=2)({"bytes": rows, "number": np.arange(5)})
    found = table.to_pylist()
    assert [row["number"] for row in found] == [0, 1, 2, 3, 4]
    assert [row["error"] is None for row in found] == [True, False, False, False, True]
    assert "not an image" in found[1]["error"]
    assert "no value" in found[2]["error"]
    for row in found[1:4]:
        assert len(row["error"].splitlines()) == 1
        assert {row[name] for name in (*LABEL_TYPES, *LIST_TYPES)} == {None}
    best = [predictions[0].index for predictions in vit.load(labelled_artifact).classify(encoded[:2], top_k=1)]
    assert [found[0]["index"], found[4]["index"]] == best


@pytest.mark.parametrize("answers", ["labels", "probabilities", "embeddings"])
@pytest.mark.parametrize("rows", [[], [NOT_A_PICTURE]])
def test_types_are_the_same_without_an_answer(answers, rows, labelled_artifact, encoded):
    predictor = Predictor(labelled_artifact, answers=answers, top_k=2)
    table = predictor({"bytes": column_of(rows)})
    assert len(table) == len(rows)
    assert table.schema == predictor({"bytes": column_of(encoded)}).schema


# Batches.


def test_a_table_gives_what_a_dict_gives(labelled_artifact, encoded):
    predictor = Predictor(labelled_artifact, prefix="vit_")
    rows = [*encoded, NOT_A_PICTURE]
    kept = {"label": np.arange(6), "score": np.linspace(0, 1, 6)}
    by_dict = predictor({"bytes": column_of(rows), **kept})
    by_table = predictor(pa.table({"bytes": pa.array(rows, pa.large_binary()), **kept}))
    assert by_dict.equals(by_table)
    assert by_dict.column_names == ["label", "score", "vit_label", "vit_index", "vit_probability", "vit_error"]


def test_paths_stay_in_the_batch(labelled_artifact, photo, tmp_path):
    paths = [str(photo), str(tmp_path / "none.png")]
    table = Predictor(labelled_artifact, pictures="paths")({"path": np.array(paths)})
    assert table["path"].to_pylist() == paths
    assert table["error"].to_pylist() == [None, f"{paths[1]}: no such file"]


def test_pictures_of_one_size_are_one_array(tiny_artifact, tiny):
    pictures = np.random.default_rng(3).integers(0, 256, (4, 40, 50, 3), dtype=np.uint8)
    table = Predictor(tiny_artifact, pictures="arrays", column="x")({"x": pictures})
    assert table["index"].to_pylist() == tiny.logits(list(pictures)).argmax(1).tolist()


def test_columns_of_more_axes_become_lists(tiny_artifact, encoded):
    boxes = np.arange(5 * 2 * 4).reshape(5, 2, 4)
    table = Predictor(tiny_artifact)({"bytes": column_of(encoded), "boxes": boxes})
    assert table["boxes"].to_pylist() == boxes.tolist()


def test_a_name_among_encoded_pictures_is_not_opened(tiny_artifact, photo):
    predictor = Predictor(tiny_artifact)
    for batch in ({"bytes": column_of([str(photo)])}, pa.table({"bytes": [str(photo)]})):
        (row,) = predictor(batch).to_pylist()
        assert row["index"] is None
        assert "stands where bytes should be" in row["error"]


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"answers": "label"}, "answers: 'label' is unknown; choose one of labels, probabilities, embeddings"),
        ({"pictures": "files"}, "pictures: 'files' is unknown; choose one of bytes, paths, arrays"),
        ({"top_k": 0}, "top_k: 0 is too few; give at least 1"),
        ({"version": "0.0.1"}, f"version: this worker has vit-edge {vit.__version__}, and the job asks for 0.0.1"),
        ({"threads": -1}, "threads: -1 is too few"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, tiny_artifact):
    with pytest.raises(vit.UsageError) as caught:
        Predictor(tiny_artifact, **arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"path": np.array(["a"])}, "column: the batch has no 'bytes'; it has 'path'"),
        (
            {"bytes": column_of([b"x"]), "error": np.zeros(1)},
            "batch: has a column 'error' already; give another prefix",
        ),
        ({"bytes": column_of([b"x"]), "other": column_of([object()])}, "batch: column 'other' has values that Arrow"),
        (SimpleNamespace(), "batch: is a SimpleNamespace, and no table and no dict of arrays"),
    ],
)
def test_wrong_batches_are_refused(batch, message, tiny_artifact):
    with pytest.raises(vit.UsageError) as caught:
        Predictor(tiny_artifact)(batch)
    assert str(caught.value).startswith(message)


def test_a_model_without_a_head_has_no_labels(edit_artifact):
    def behead(document):
        document.update(labels=None, head=None, outputs=["embedding"])
        document["architecture"]["classes"] = 0
        document["verification"]["outputs"] = document["verification"]["outputs"][1:]
        document["verification"]["same_top1"] = None
        document["self_test"]["outputs"] = document["self_test"]["outputs"][1:]

    def without_logits(graph):
        del graph.output[0]

    artifact = edit_artifact(document=behead, graph=without_logits)
    with pytest.raises(vit.ArtifactError, match="has no classification head"):
        Predictor(artifact)
    assert "Predictor(ViT(" in repr(Predictor(artifact, answers="embeddings"))


# What it needs, and what it does not.


def test_it_runs_without_ray(tiny_artifact, photo):
    script = """
from vit_runtime.ray import Predictor
table = Predictor(sys.argv[1], pictures="paths", threads=1)({"path": __import__("numpy").array([sys.argv[2]])})
print(table["error"].to_pylist(), "ray" in sys.modules)
"""
    assert run_without(("ray",), script, tiny_artifact, photo).strip() == "[None] False"


@pytest.mark.parametrize(("package", "extras"), [("pyarrow", "vit-edge[ray,cpu]"), ("onnxruntime", "vit-edge[cpu]")])
def test_a_missing_package_is_named(package, extras, tiny_artifact):
    script = """
from vit_runtime.ray import Predictor
try:
    Predictor(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""
    told = f"MissingDependencyError {package}: not installed; run: pip install '{extras}'"
    assert run_without((package,), script, tiny_artifact).strip() == told


def test_the_runtime_itself_imports_neither_ray_nor_pyarrow():
    script = "import vit_runtime\nprint({'ray', 'pyarrow', 'vit_runtime.ray'} & set(sys.modules))"
    assert run_without((), script).strip() == "set()"


def test_the_class_and_its_arguments_travel_between_processes(tiny_artifact):
    arguments = {"model": Path(tiny_artifact), "answers": "embeddings"}
    assert pickle.loads(pickle.dumps((Predictor, arguments))) == (Predictor, arguments)  # noqa: S301 - our own
