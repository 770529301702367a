"""Classes in words: the same logits as transformers' CLIPModel and SiglipModel give for the same photos and texts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers as hf
from huggingface_hub import constants
from PIL import Image

import vit_runtime as vit
from vit_export import DownloadError, ExportRequest, export, export_for
from vit_export.verify.tolerances import TOLERANCES, Difference
from vit_runtime.artifact import Rollout, read_artifact
from vit_runtime.selftest import waves

from .hf_models import refuse_network
from .zero_shot_models import PROMPT, logits_per_image, make, pixels, tokens

Made = tuple[Path, hf.PreTrainedModel]
Run = Callable[..., Any]
FAMILIES = ("clip", "siglip")
WORDS = (
    *("tench", "great white shark", "bald eagle", "bullfrog", "American alligator", "tarantula", "Siberian husky"),
    *("ladybug", "zebra", "ox", "gate open", "gate closed", "parcel", "cat Tom", "ein grüner Baum", "красная машина"),
    *("街上的一辆红色汽车", "リンゴ", "حصان", "🚗"),
)
"""Twenty, in several alphabets."""


@pytest.fixture(scope="module", params=FAMILIES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, make(request.param, folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("clip")
    return folder, make("clip", folder)


@pytest.fixture(scope="module")
def formula_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        Image.fromarray(waves((90 + 7 * number, 140 - 5 * number), variant=number)).save(path)
    return paths


def classes_file(folder: Path, *lines: str) -> Path:
    path = folder / "classes.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def family_of(model: hf.PreTrainedModel) -> str:
    return str(model.config.model_type)


def check(path: Path, photos: list[Path], expected: np.ndarray, batch_sizes: tuple[int, ...] = (1, 3)) -> None:
    """Compares an artifact's logits with the reference's, one by one and in threes."""
    tolerance = TOLERANCES["fp32"]["logits"]
    assert isinstance(tolerance, Difference)
    with vit.load(path) as model:
        for size in batch_sizes:
            assert np.abs(model.logits(photos, batch_size=size) - expected).max() <= tolerance.limit(expected)


# Parity with transformers.


def test_twenty_classes_and_fifty_photos(made: Made, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Worst measured: 5.0e-5 where logits go up to 61, of which 6.1e-4 are allowed."""
    folder, model = made
    photos = sorted((data / "photos").glob("*.JPEG"))[::10][:50]
    refuse_network(monkeypatch)
    done = export(ExportRequest(model=folder, classes=classes_file(tmp_path, *WORDS), output=tmp_path / "model.onnx"))
    texts = [PROMPT[family_of(model)].replace("{}", word) for word in WORDS]
    expected = logits_per_image(model, folder, photos, texts)
    assert expected.shape == (50, 20)
    check(done.path, photos, expected)
    artifact = read_artifact(done.path)
    assert artifact.labels == WORDS
    assert artifact.architecture.normalised_head


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_classes_and_fifty_photos_at_full_size(family: str, data: Path, tmp_path: Path):
    """CLIP B/32 and SigLIP B/16. Worst measured: 1.3e-5 of 1.1e-4 and 1.5e-5 of 2.0e-4."""
    model = make(family, tmp_path / family, full=True)
    photos = sorted((data / "photos").glob("*.JPEG"))[::10][:50]
    classes = classes_file(tmp_path, *WORDS)
    done = export(ExportRequest(model=tmp_path / family, classes=classes, output=tmp_path / "model.onnx"))
    texts = [PROMPT[family].replace("{}", word) for word in WORDS]
    check(done.path, photos, logits_per_image(model, tmp_path / family, photos, texts), (1,))


def test_probabilities_are_of_the_family_s_kind(made: Made, formula_photos: list[Path], tmp_path: Path):
    folder, model = made
    done = export(ExportRequest(model=folder, classes=classes_file(tmp_path, *WORDS), output=tmp_path / "model.onnx"))
    texts = [PROMPT[family_of(model)].replace("{}", word) for word in WORDS]
    scores = torch.tensor(logits_per_image(model, folder, formula_photos, texts), dtype=torch.float64)
    kind = "softmax" if family_of(model) == "clip" else "sigmoid"
    expected = scores.softmax(dim=-1) if kind == "softmax" else scores.sigmoid()
    for row, predictions in zip(expected, vit.load(done.path).classify(formula_photos, top_k=20), strict=True):
        assert [each.kind for each in predictions] == [kind] * 20
        found = {each.label: each.probability for each in predictions}
        np.testing.assert_allclose([found[word] for word in WORDS], row, rtol=1e-3, atol=1e-9)


def test_prompts_are_averaged_as_in_clip_s_notebook(made: Made, formula_photos: list[Path], tmp_path: Path):
    """`zeroshot_classifier` of openai/CLIP's notebook: normalise each text's vector, average, normalise again."""
    folder, model = made
    templates = ("a photo of a {}.", "{} in the snow", "the {}, and another {}")
    lines = ("# what stands at the gate", "parcel", "cat: a cat: Tom | a small {} | a CAT's tail | a {}", "dog")
    request = ExportRequest(
        model=folder, classes=classes_file(tmp_path, *lines), prompt=templates, output=tmp_path / "model.onnx"
    )
    done = export(request)
    own = ("a cat: Tom", "a small cat", "a CAT's tail", "a cat")
    texts = [
        [each.replace("{}", "parcel") for each in templates],
        own,
        [each.replace("{}", "dog") for each in templates],
    ]
    weights = []
    with torch.inference_mode():
        for each in texts:
            vectors = model.get_text_features(input_ids=tokens(model, folder, each))
            vectors = getattr(vectors, "pooler_output", vectors)
            vectors = vectors / vectors.norm(dim=-1, keepdim=True)
            mean = vectors.mean(dim=0)
            weights.append(mean / mean.norm())
        pictures = model.get_image_features(pixel_values=pixels(model, formula_photos))
        pictures = getattr(pictures, "pooler_output", pictures)
        pictures = pictures / pictures.norm(dim=-1, keepdim=True)
        expected = model.logit_scale.exp() * pictures @ torch.stack(weights).T + getattr(model, "logit_bias", 0.0)
    check(done.path, formula_photos, expected.numpy())
    texts_said = done.artifact.head.texts
    assert done.artifact.labels == ("parcel", "cat", "dog")
    assert texts_said.templates == templates
    assert texts_said.prompts == ((), ("a cat: Tom", "a small {}", "a CAT's tail", "a {}"), ())


def test_an_image_size_of_another_kind_has_the_same_head(made: Made, tmp_path: Path):
    folder, _ = made
    classes = classes_file(tmp_path, *WORDS)
    weights = []
    for size in (32, 64):
        done = export(ExportRequest(model=folder, classes=classes, image_size=size, output=tmp_path / f"{size}.onnx"))
        loaded = onnx.load(done.path)
        (head,) = (each for each in loaded.graph.initializer if each.name.startswith("heads.head.weight"))
        weights.append(onnx.numpy_helper.to_array(head))
    np.testing.assert_array_equal(*weights)


# With what else an export can do.

MORE = {
    "dynamic int8": {"precision": "int8"},
    "fp16": {"precision": "fp16", "target": "portable"},
    "attention maps": {"rollout": Rollout(head_fusion="mean", discard_ratio=0.0)},
    "the library's own model": {"against": "library"},
}


@pytest.mark.parametrize("case", MORE)
def test_classes_in_words_go_with_other_options(case: str, clip: Made, formula_photos: list[Path], tmp_path: Path):
    folder, model = clip
    classes = classes_file(tmp_path, *WORDS)
    done = export(ExportRequest(model=folder, classes=classes, output=tmp_path / "model.onnx", **MORE[case]))
    expected = logits_per_image(model, folder, formula_photos, [f"a photo of a {word}." for word in WORDS])
    ours = vit.load(done.path).logits(formula_photos)
    assert ours.shape == (8, 20)
    cosines = (ours * expected).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.95  # what int8 is held to


def test_static_int8_for_several_targets(
    clip: Made, calibration_folder: Path, formula_photos: list[Path], tmp_path: Path
):
    folder, _ = clip
    request = ExportRequest(
        model=folder,
        classes=classes_file(tmp_path, *WORDS),
        precision="int8",
        calibrate=calibration_folder,
        max_drop=99.0,
        output=tmp_path / "out",
    )
    for done in export_for(request, ["cpu", "openvino", "portable"]):
        assert done.artifact.head.origin == "texts"
        assert done.artifact.quantization.agreement.same_top1 is not None
        assert vit.load(done.path).logits(formula_photos[0]).shape == (1, 20)


# From the hub's cache.


def test_a_name_on_the_hub_works_from_its_cache_alone(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _ = made
    snapshot = tmp_path / "cache" / "models--someone--towers" / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refuse_network(monkeypatch)
    classes = classes_file(tmp_path, *WORDS)
    done = export(ExportRequest(model="someone/towers", classes=classes, output=tmp_path / "hub.onnx"))
    local = export(ExportRequest(model=folder, classes=classes, output=tmp_path / "local.onnx"))
    assert done.artifact.head.texts.model == "someone/towers"
    assert done.artifact.verification.outputs == local.artifact.verification.outputs
    assert done.artifact.self_test == local.artifact.self_test

    (snapshot / "tokenizer.json").unlink()
    with pytest.raises(
        DownloadError, match=r"^someone/towers: cannot be downloaded .* tokenizer's files \(tokenizer\*\.json\) from"
    ):
        export(ExportRequest(model="someone/towers", classes=classes, output=tmp_path / "none.onnx"))
    assert not (tmp_path / "none.onnx").exists()


# What is said of them.


def test_the_artifact_and_its_description_say_where_classes_come_from(
    made: Made, vit_export_cli: Run, vit_run: Run, tmp_path: Path
):
    folder, model = made
    classes = classes_file(
        tmp_path, "parcel", "cat: a {} | the {} | cats | Tom", *(f"{word}: {word}" for word in WORDS[:4])
    )
    output = tmp_path / "model.onnx"
    done = vit_export_cli(folder, "--classes", classes, "--prompt", "{}!", "--prompt", "the {}", "-o", output)
    assert done.exit_code == 0, done.stderr
    assert "  class 1" in done.stderr
    info = vit_run("info", output).stdout
    assert f"zero-shot: by texts, which the text tower of {folder.name} read (transformers {hf.__version__}" in info
    assert re.search(r"  prompts +\{\}! \| the \{\}\n", info)
    assert re.search(r"  class 1 +cat: a \{\} \| the \{\} \| cats \| \.\.\. \(4\)\n", info)
    assert re.search(r"  \.\.\. +2 more with prompts of their own\n", info)
    assert ("each class has its own (sigmoid)" in info) == (family_of(model) == "siglip")
    document = json.loads(vit_run("info", output, "--json").stdout)["head"]["texts"]
    assert document["templates"] == ["{}!", "the {}"]
    assert document["prompts"][:2] == [[], ["a {}", "the {}", "cats", "Tom"]]


def test_texts_that_are_too_long_are_cut_off_and_named(made: Made, vit_export_cli: Run, tmp_path: Path):
    folder, model = made
    long = "a very long story of " * 40 + "a dog"
    lines = [f"dog: {long} | a dog", "cat: a cat"]
    output = tmp_path / "model.onnx"
    done = vit_export_cli(folder, "--classes", classes_file(tmp_path, *lines), "-o", output)
    assert done.exit_code == 0, done.stderr
    context = model.config.text_config.max_position_embeddings
    assert f"1 text is longer than the {context} tokens that the text tower reads" in " ".join(done.stderr.split())
    with torch.inference_mode():
        vectors = model.get_text_features(input_ids=tokens(model, folder, [long, "a dog"]))
        vectors = torch.nn.functional.normalize(getattr(vectors, "pooler_output", vectors), dim=-1).mean(dim=0)
    head = next(each for each in onnx.load(output).graph.initializer if each.name.startswith("heads.head.weight"))
    rows = onnx.numpy_helper.to_array(head)
    row = rows[0] if rows.shape[0] == 2 else rows[:, 0]
    np.testing.assert_allclose(row / np.linalg.norm(row), vectors / vectors.norm(), atol=1e-6)
