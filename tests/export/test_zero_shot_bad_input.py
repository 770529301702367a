"""What `vit-export --classes` refuses, in one line each, with no file left."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tests.text_models import TINY_VISION, clip_config, save_clip_tokenizer, seeded

from vit_export import CheckpointError, ClassesError, ExportRequest, UsageError, VitEdgeError, export
from vit_export.errors import UnknownModelError
from vit_runtime.artifact import read_artifact
from vit_runtime.errors import MissingDependencyError, command_line

from .zero_shot_models import make

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    make("clip", folder)
    return folder


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    make("siglip", folder)
    return folder


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return written(tmp_path, "cat", "dog")


def written(folder: Path, *lines: str) -> Path:
    path = folder / "classes.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def copied(folder: Path, to: Path, *leave_out: str) -> Path:
    shutil.copytree(folder, to, ignore=lambda *_: leave_out)
    return to


def refused(error: type[VitEdgeError], model: object, classes: Path, **options: Any) -> str:
    output = classes.parent / "out"
    with command_line(), pytest.raises(error) as caught:
        export(ExportRequest(model=str(model), classes=classes, output=output / "model.onnx", **options))
    assert type(caught.value) is error
    assert not output.exists()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


# Models.


def test_models_without_a_text_tower(classes: Path, tmp_path: Path):
    assert "vit_b_16: has no text tower: it reads pictures only; give a CLIP or SigLIP model" in refused(
        CheckpointError, "vit_b_16", classes
    )
    hf.Dinov2Model(hf.Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        tmp_path / "dino"
    )
    message = refused(CheckpointError, tmp_path / "dino", classes)
    assert "has no text tower that is known: its model type is 'dinov2'; give a CLIP or SigLIP model" in message
    hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**TINY_VISION)).save_pretrained(tmp_path / "vision")
    message = refused(CheckpointError, tmp_path / "vision", classes)
    assert "has no text tower that is known: its model type is 'clip_vision_model'" in message


def test_timms_models_and_files_of_weights(classes: Path, tmp_path: Path):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}))
    assert "is a timm model, which has no text tower here" in refused(CheckpointError, tmp_path / "timm", classes)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    message = refused(CheckpointError, tmp_path / "x.safetensors", classes)
    assert "has no text tower: it reads pictures only" in message


def test_a_model_that_is_not_there(classes: Path):
    assert "unknown; " in refused(UnknownModelError, "clip", classes)


def test_a_text_tower_alone(classes: Path, tmp_path: Path):
    folder = tmp_path / "text"
    config = clip_config(save_clip_tokenizer(folder)).text_config
    seeded(hf.CLIPTextModelWithProjection(config)).save_pretrained(folder)
    message = refused(CheckpointError, folder, classes)
    assert "has a text tower and no picture tower; give the whole model" in message


def test_weights_of_one_tower_under_the_configuration_of_both(clip: Path, classes: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "pictures")
    weights = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "text" not in name}, folder / "model.safetensors")
    message = refused(CheckpointError, folder, classes)
    assert "does not fit transformers' CLIPModel: " in message
    assert "missing (text_model." in message


def test_towers_of_two_spaces(siglip: Path, classes: Path, tmp_path: Path):
    folder = copied(siglip, tmp_path / "apart")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["projection_size"] = 24
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    for name in ("weight", "bias"):
        weights[f"text_model.head.{name}"] = weights[f"text_model.head.{name}"][:24].contiguous()
    save_file(weights, folder / "model.safetensors")
    assert "gives pictures 32 numbers and texts 24: they are not of one space" in refused(
        CheckpointError, folder, classes
    )


TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_no_tokenizer(family: str, classes: Path, tmp_path: Path, request: pytest.FixtureRequest):
    folder = copied(request.getfixturevalue(family), tmp_path / "bare", *TOKENIZER)
    message = refused(CheckpointError, folder, classes)
    assert "has no tokenizer: neither tokenizer.json, nor vocab.json with merges.txt, nor spiece.model" in message
    assert "fetch them into the same folder from where its weights come from, such as huggingface.co/" in message


def test_a_tokenizer_that_is_damaged(clip: Path, classes: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "damaged")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    message = refused(CheckpointError, folder, classes)
    assert "cannot use it (" in message
    assert message.endswith("; fetch its files again")


def test_transformers_is_missing(clip: Path, classes: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = refused(MissingDependencyError, clip, classes)
    assert message == "transformers: not installed; run: pip install 'vit-edge[export-text]'"


# Classes.


def test_one_class_only(clip: Path, tmp_path: Path):
    message = refused(ClassesError, clip, written(tmp_path, "cat"))
    assert "'cat' is its only class, which would always be 100 % likely; add a class for what it is not" in message


def test_one_class_only_has_a_probability_of_its_own_by_sigmoid(siglip: Path, tmp_path: Path):
    request = ExportRequest(model=siglip, classes=written(tmp_path, "cat"), output=tmp_path / "model.onnx")
    artifact = read_artifact(export(request).path)
    assert artifact.labels == ("cat",)
    assert artifact.head is not None
    assert artifact.head.probabilities == "sigmoid"


def test_classes_that_are_the_same_to_the_text_tower(clip: Path, tmp_path: Path):
    message = refused(ClassesError, clip, written(tmp_path, "Turkey", "dog", "turkey"))
    assert "'Turkey' and 'turkey' are one and the same to the text tower" in message
    assert message.endswith("describe them in other words, or leave one out")
    long = "a very long story of " * 40
    message = refused(ClassesError, clip, written(tmp_path, f"dog: {long} a dog", f"cat: {long} a cat"))
    assert "'dog' and 'cat' are one and the same" in message


def test_a_file_of_classes_is_looked_at_before_anything_is_fetched(tmp_path: Path):
    assert "line 2 names 'cat' again" in refused(ClassesError, "nobody/nothing", written(tmp_path, "cat", "cat"))


# Options.

OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no place for the label": (
        {"prompt": ("a photo of a cat",)},
        "--prompt: 'a photo of a cat' has no {}, where the label goes: all classes would have the same text; "
        "for example: 'a photo of a {}.'",
    ),
    "a place with a number": ({"prompt": ("a {0}",)}, "--prompt: 'a {0}' has no {}"),
    "one of several": ({"prompt": ("a {}", "")}, "--prompt: '' has no {}"),
    "no text": ({"prompt": (7,)}, "--prompt: 7 is no text"),
    "no list": ({"prompt": 7}, "--prompt: 7 is no list of texts"),
    "labels": ({"labels": "imagenet"}, "--labels: does not go with --classes, whose labels are its own; leave one out"),
    "the text tower": ({"text": True}, "--classes: is for pictures, not for --text; leave it out"),
    "random weights": ({"weights": "random"}, "--weights: does not go with "),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_do_not_go_with_classes(case: str, clip: Path, classes: Path):
    options, complaint = OPTIONS[case]
    assert complaint in refused(UsageError, clip, classes, **options)


def test_one_prompt_may_be_a_plain_text(clip: Path, classes: Path, tmp_path: Path):
    done = export(ExportRequest(model=clip, classes=classes, prompt="my {}", output=tmp_path / "model.onnx"))
    assert done.artifact.head is not None
    assert done.artifact.head.texts is not None
    assert done.artifact.head.texts.templates == ("my {}",)


def test_prompts_without_classes(vit_export_cli: Run):
    done = vit_export_cli("vit_b_16", "--prompt", "a {}")
    assert done.exit_code == 2
    assert done.stderr == "error: --prompt: is for classes in words; add --classes, or leave it out\n"
