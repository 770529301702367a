"""`ViT` answers as PyTorch does, for one picture and for many, in order, from any thread."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.pictures.preprocess import load_pixels

Edit = Callable[..., Path]
AskPyTorch = Callable[[UInt8Array], tuple[FloatArray, FloatArray]]
Prepared = Callable[[list[UInt8Array]], UInt8Array]
RandomPictures = Callable[[int], list[UInt8Array]]

TOLERANCE = 1e-4  # fp32; the worst measured here is 3.1e-6, on embeddings


@pytest.fixture(scope="module")
def prepared(tiny: vit.ViT) -> Callable[[list[UInt8Array]], UInt8Array]:
    """Pictures as torchvision prepares them: uint8 (N, 32, 32, 3)."""
    preparation = tiny.artifact.preprocessing
    edge, crop_hw = preparation.resize_shortest_edge, preparation.crop_hw
    prepare = Compose([Resize(edge, InterpolationMode(preparation.interpolation)), CenterCrop(crop_hw)])
    return lambda pictures: np.stack([np.asarray(prepare(Image.fromarray(picture))) for picture in pictures])


@pytest.fixture(scope="module")
def labelled(labelled_artifact: Path) -> vit.ViT:
    return vit.load(labelled_artifact, threads=1)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_logits_and_embeddings_equal_pytorch(
    count: int, tiny: vit.ViT, ask_pytorch: AskPyTorch, prepared: Prepared, random_pictures: RandomPictures
):
    """17 pictures are two batches of 8 and a remainder of one."""
    pictures = random_pictures(count)
    logits, embedding = ask_pytorch(prepared(pictures))
    assert tiny.logits(pictures, batch_size=8).shape == (count, 7)
    assert tiny.logits(pictures, batch_size=8).dtype == np.float32
    np.testing.assert_allclose(tiny.logits(pictures, batch_size=8), logits, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(tiny.embed(pictures, batch_size=8), embedding, rtol=0, atol=TOLERANCE)


def test_classes_and_probabilities_are_pytorchs(
    tiny: vit.ViT, ask_pytorch: AskPyTorch, prepared: Prepared, picture: UInt8Array
):
    probabilities = np.exp(ask_pytorch(prepared([picture]))[0][0].astype(float))
    probabilities /= probabilities.sum()
    predictions = tiny.classify(picture, top_k=7)
    assert [prediction.index for prediction in predictions] == list(np.argsort(-probabilities))
    for prediction in predictions:
        assert prediction.probability == pytest.approx(probabilities[prediction.index], abs=TOLERANCE)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_batch_size_does_not_change_answers(batch_size: int, tiny: vit.ViT, random_pictures: RandomPictures):
    pictures = random_pictures(5)
    single = np.concatenate([tiny.embed(picture) for picture in pictures])
    np.testing.assert_allclose(tiny.embed(pictures, batch_size=batch_size), single, rtol=0, atol=1e-5)


def test_probabilities_of_all_classes_sum_to_one_best_first(tiny: vit.ViT, picture: UInt8Array):
    probabilities = [prediction.probability for prediction in tiny.classify(picture, top_k=7)]
    assert len(probabilities) == 7
    assert sum(probabilities) == pytest.approx(1, abs=1e-12)
    assert probabilities == sorted(probabilities, reverse=True)


def test_equal_logits_go_by_lower_index(tiny: vit.ViT):
    """A thousand of them: few values are sorted in order by any method."""
    logits = np.random.default_rng(seed=0).integers(0, 3, size=1000).astype(np.float32)
    expected = sorted(range(1000), key=lambda index: (-logits[index], index))
    assert [prediction.index for prediction in tiny.top(logits, top_k=1000)] == expected


def test_large_logits_do_not_overflow(tiny: vit.ViT):
    logits = np.array([3e38, -3e38, 1e4, 0, 0, 0, 0], np.float32)
    assert tiny.top(logits, top_k=1) == [vit.Prediction(index=0, label="class 0", probability=1.0)]


def test_classes_go_by_label_or_by_number(tiny: vit.ViT, labelled: vit.ViT, picture: UInt8Array):
    named, numbered = labelled.classify(picture, top_k=7), tiny.classify(picture, top_k=7)
    assert [prediction.index for prediction in named] == [prediction.index for prediction in numbered]
    labels = ("Samoyed", "tabby, cat", "café", "犬", "5", "six", "seven")
    assert all(prediction.label == labels[prediction.index] for prediction in named)
    assert all(prediction.label == f"class {prediction.index}" for prediction in numbered)


def test_one_picture_gives_one_list_and_a_sequence_gives_one_each(tiny: vit.ViT, picture: UInt8Array):
    single = tiny.classify(picture)
    assert len(single) == 5
    assert tiny.classify([picture]) == [single]
    assert tiny.classify((picture, Image.fromarray(picture))) == [single, single]
    assert tiny.embed(picture).shape == (1, 128)
    assert tiny.embed((picture, picture)).shape == (2, 128)


def test_paths_bytes_and_files_are_one_picture_each(tiny: vit.ViT, picture: UInt8Array, tmp_path: Path):
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    expected = tiny.classify(picture)
    with path.open("rb") as file:
        for source in (str(path), path, path.read_bytes(), file):
            assert tiny.classify(source) == expected


def test_more_classes_than_there_are(tiny: vit.ViT, picture: UInt8Array):
    assert len(tiny.classify(picture, top_k=1000)) == 7


@pytest.mark.parametrize("top_k", [0, -1])
def test_no_classes_at_all(top_k: int, tiny: vit.ViT, picture: UInt8Array):
    with pytest.raises(ValueError, match=f"top_k: {top_k} is too few; give at least 1"):
        tiny.classify(picture, top_k=top_k)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_no_batch_at_all(batch_size: int, tiny: vit.ViT, picture: UInt8Array):
    with pytest.raises(ValueError, match=f"batch_size: {batch_size} is too few; give at least 1"):
        tiny.embed(picture, batch_size=batch_size)


@pytest.mark.parametrize("nothing", [list, tuple, lambda: iter([]), {}.keys])
def test_no_picture_gives_an_empty_answer_of_the_right_shape(nothing: Callable[[], list[UInt8Array]], tiny: vit.ViT):
    """As NumPy does: what loops over answers or stacks them needs no case of its own."""
    assert tiny.classify(nothing()) == []
    for values, width in ((tiny.logits(nothing()), 7), (tiny.embed(nothing()), 128)):
        assert (values.shape, values.dtype) == ((0, width), np.float32)
    assert tiny.embed(nothing(), normalize=True).shape == (0, 128)


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda pictures: (picture for picture in pictures)])
def test_pictures_come_in_any_iterable(kind: Callable[[list[UInt8Array]], Any], tiny: vit.ViT, picture: UInt8Array):
    pictures = [picture, picture[::-1], picture[:, ::-1]]
    expected = np.concatenate([tiny.embed(one) for one in pictures])
    np.testing.assert_allclose(tiny.embed(kind(pictures), batch_size=2), expected, rtol=0, atol=1e-5)
    assert [answer[0].index for answer in tiny.classify(kind(pictures))] == [
        tiny.classify(one)[0].index for one in pictures
    ]


def test_one_broken_picture_among_many_is_named(tiny: vit.ViT, picture: UInt8Array, tmp_path: Path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"broken")
    with pytest.raises(vit.ImageError, match=r"broken\.jpg"):
        tiny.embed([picture, broken, picture])


@pytest.mark.parametrize("buffer", [bytearray, memoryview])
def test_other_buffers_of_bytes_are_one_picture(
    buffer: Callable[[bytes], object], tiny: vit.ViT, picture: UInt8Array, encode: Callable[..., bytes]
):
    """To Python these are sequences, of numbers."""
    content = encode(picture, "PNG")
    assert tiny.classify(buffer(content)) == tiny.classify(picture)
    with pytest.raises(vit.ImageError, match=r"^image of 6 bytes: "):
        tiny.classify(buffer(b"broken"))


def test_run_takes_preprocessed_pixels_and_returns_outputs_in_order(tiny: vit.ViT, random_pictures: RandomPictures):
    pictures = random_pictures(3)
    pixels = np.stack([load_pixels(picture, tiny.artifact.preprocessing) for picture in pictures])
    embedding, logits = tiny.run(pixels, ("embedding", "logits"))
    assert np.array_equal(embedding, tiny.embed(pictures))
    assert np.array_equal(logits, tiny.logits(pictures))
    assert [output.shape for output in tiny.run(pixels)] == [(3, 7), (3, 128)]
    assert np.array_equal(tiny.run(pixels[:, ::-1, ::-1].copy()[:, ::-1, ::-1], ["logits"])[0], logits)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
        np.zeros((1, 32, 31, 3), np.uint8),
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((1, 32, 32, 4), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((1, 32, 32, 3), np.int8),
        np.zeros((), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_run_refuses_other_pixels(pixels: np.ndarray, tiny: vit.ViT):
    with pytest.raises(vit.ImageError) as caught:
        tiny.run(pixels)
    assert f"shape {pixels.shape} and dtype {pixels.dtype}" in str(caught.value)
    assert "give uint8 of shape (N, 32, 32, 3)" in str(caught.value)


def test_run_refuses_an_output_that_does_not_exist(tiny: vit.ViT):
    with pytest.raises(vit.ArtifactError, match="gives no attention maps; export it with rollout"):
        tiny.run(np.zeros((1, 32, 32, 3), np.uint8), ["rollout"])


def test_run_returns_every_output_that_the_artifact_lists(attention_artifact: Path):
    model = vit.load(attention_artifact, threads=1)
    assert model.artifact.outputs == ("logits", "embedding", "rollout")
    pixels = np.random.default_rng(seed=3).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    answers = dict(zip(model.artifact.outputs, model.run(pixels), strict=True))
    assert {output: values.shape for output, values in answers.items()} == {
        "logits": (2, 7),
        "embedding": (2, 128),
        "rollout": (2, 4, 4),
    }
    for output, values in answers.items():
        assert np.array_equal(model.run(pixels, [output])[0], values)


def without_a_head(document: dict[str, Any]) -> None:
    document["architecture"]["classes"] = 0
    document["head"] = None
    document["outputs"] = ["embedding"]
    for part in ("self_test", "verification"):
        document[part]["outputs"] = [facts for facts in document[part]["outputs"] if facts["output"] == "embedding"]


def drop_logits(graph: onnx.GraphProto) -> None:
    (logits,) = (output for output in graph.output if output.name == "logits")
    graph.output.remove(logits)


def test_a_model_without_a_head_gives_embeddings_alone(edit_artifact: Edit, tiny: vit.ViT, picture: UInt8Array):
    model = vit.load(edit_artifact(document=without_a_head, graph=drop_logits), threads=1)
    for method in (model.classify, model.logits):
        with pytest.raises(vit.ArtifactError, match="has no classification head, so it cannot classify"):
            method(picture)
    assert np.array_equal(model.embed(picture), tiny.embed(picture))
    assert [values.shape for values in model.run(load_pixels(picture, tiny.artifact.preprocessing)[None])] == [(1, 128)]
    assert vit.check(model).passed


def test_answers_are_the_same_from_several_threads(tiny_artifact: Path, random_pictures: RandomPictures):
    model = vit.load(tiny_artifact, threads=2)
    pictures = random_pictures(40)
    expected = [model.classify(picture) for picture in pictures]
    with ThreadPoolExecutor(max_workers=4) as pool:
        assert list(pool.map(model.classify, pictures)) == expected


def test_a_model_says_what_it_is(tiny: vit.ViT):
    assert repr(tiny) == "ViT(tiny, fp32, CPUExecutionProvider, threads=1)"


WITHOUT_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
import vit_runtime as vit

model = vit.load(sys.argv[1], provider="cpu", threads=1)
pixels = np.zeros((4000, 32, 32, 3), np.uint8)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, used + 2**24))
try:
    model.run(pixels)
except vit.ProviderError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits")
def test_want_of_memory_is_one_clear_error(tiny_artifact: Path):
    """The likeliest failure on a small machine."""
    command = [sys.executable, "-c", WITHOUT_MEMORY, str(tiny_artifact)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("CPUExecutionProvider: could not compute 4000 pictures (")
    assert "where memory is short, give fewer pictures at a time" in line
