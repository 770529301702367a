"""What `vit-export --text` refuses, in one line each, with no file left."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tests.text_models import TINY_VISION, clip_config, save_clip_tokenizer, save_gemma_tokenizer, seeded, siglip_config

import vit_runtime as vit
from vit_export import ExportRequest, UsageError, export, export_text
from vit_export.errors import CheckpointError, UnknownModelError, VerificationError
from vit_export.verify import text_comparison
from vit_runtime.errors import VitEdgeError

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    seeded(hf.CLIPModel(clip_config(save_clip_tokenizer(folder)))).save_pretrained(folder)
    return folder


def copied(folder: Path, to: Path, *leave_out: str) -> Path:
    """A copy without some of the files."""
    to.mkdir()
    for file in folder.iterdir():
        if file.name not in leave_out:
            (to / file.name).write_bytes(file.read_bytes())
    return to


def edit_config(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"] |= changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def refused(error: type[VitEdgeError], model: object, tmp_path: Path, **options: Any) -> str:
    output = tmp_path / "out"
    with pytest.raises(error) as caught:
        export_text(ExportRequest(model=str(model), output=output / "text.onnx", **options))
    assert not list(output.glob("*"))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_model_without_a_text_tower(tmp_path: Path):
    vit_model = hf.ViTModel(hf.ViTConfig(**TINY_VISION))
    vit_model.save_pretrained(tmp_path / "vit")
    message = refused(CheckpointError, tmp_path / "vit", tmp_path)
    assert "has no text tower that is known: its model type is 'vit'; give a CLIP or SigLIP model" in message
    hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**TINY_VISION)).save_pretrained(tmp_path / "vision")
    message = refused(CheckpointError, tmp_path / "vision", tmp_path)
    assert "has no text tower that is known: its model type is 'clip_vision_model'" in message


def test_a_clip_folder_with_weights_of_the_picture_tower_alone(clip: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "pictures")
    weights = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "text" not in name}, folder / "model.safetensors")
    assert "has no text tower: its weights are of pictures only" in refused(CheckpointError, folder, tmp_path)


def test_a_text_tower_that_leads_nowhere(clip: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "alone")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors")
    message = refused(CheckpointError, folder, tmp_path)
    assert "has no text_projection, which leads into the space of the pictures" in message


@pytest.mark.parametrize("model", ["vit_b_16", "vit_h_14"])
def test_torchvisions_models(model: str, tmp_path: Path):
    assert f"{model}: has no text tower: it reads pictures only" in refused(CheckpointError, model, tmp_path)


def test_timms_models_and_files_of_weights(tmp_path: Path):
    folder = tmp_path / "timm"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}), encoding="utf-8")
    assert "is a timm model, which has no text tower here" in refused(CheckpointError, folder, tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert "has no text tower: it reads pictures only" in refused(CheckpointError, tmp_path / "x.safetensors", tmp_path)


def test_a_model_that_is_not_there(tmp_path: Path):
    message = refused(UnknownModelError, "clip", tmp_path)
    assert "did you mean" in message or "known are openai/clip-vit-base-patch32" in message


def test_no_tokenizer(clip: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "bare", "tokenizer.json", "tokenizer_config.json")
    message = refused(CheckpointError, folder, tmp_path)
    assert (
        "has no tokenizer: neither tokenizer.json, nor vocab.json with merges.txt, nor spiece.model; fetch" in message
    )
    assert "huggingface.co/openai/clip-vit-base-patch32" in message


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_half_a_tokenizer(missing: str, clip: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "half", "tokenizer.json", "tokenizer_config.json")
    save_clip_tokenizer(folder, whole=False)
    (folder / missing).unlink()
    message = refused(CheckpointError, folder, tmp_path)
    assert f"its tokenizer is incomplete: {missing} is missing beside" in message


def test_sentencepiece_is_asked_for_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "siglip"
    seeded(hf.SiglipModel(siglip_config(300))).save_pretrained(folder)
    (folder / "spiece.model").write_bytes(b"pieces")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    message = refused(vit.MissingDependencyError, folder, tmp_path)
    assert message == "sentencepiece: not installed; run: pip install 'vit-edge[export-text]'"


def test_a_tokenizer_that_is_damaged(clip: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "damaged")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    assert "cannot use it" in refused(CheckpointError, folder, tmp_path)


def test_a_tokenizer_of_another_model(clip: Path, tmp_path: Path):
    """It gives tokens that the model has no row for."""
    folder = copied(clip, tmp_path / "other", "tokenizer.json", "tokenizer_config.json")
    save_clip_tokenizer(folder, pairs=400)
    assert "does not fit its tokenizer" in refused(CheckpointError, folder, tmp_path)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"hidden_act": "relu"}, "hidden_act relu is not supported"),
        ({"num_hidden_layers": "three"}, "num_hidden_layers three is not supported"),
        ({"num_attention_heads": 5}, "width 32 is no multiple of heads 5"),
        ({"max_position_embeddings": 10**6}, "context is 1000000, should be at most 4096"),
        ({"eos_token_id": 10**6}, "end_token 1000000 is none of"),
        ({"hidden_size": 64}, "does not fit the text tower that its config.json describes"),
        ({"num_hidden_layers": 2}, "unexpected"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps small is not supported"),
    ],
)
def test_a_configuration_that_does_not_fit(changes: dict[str, Any], part: str, clip: Path, tmp_path: Path):
    folder = edit_config(copied(clip, tmp_path / "edited"), **changes)
    assert part in refused(CheckpointError, folder, tmp_path)


def test_weights_that_are_not_finite(clip: Path, tmp_path: Path):
    folder = copied(clip, tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    weights["text_model.final_layer_norm.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors")
    assert "holds NaN or infinite values" in refused(CheckpointError, folder, tmp_path)


def test_an_answer_that_is_not_pytorchs(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_comparison, "cosines", lambda *_: text_comparison.np.zeros(1))
    message = refused(VerificationError, clip, tmp_path, precision="int8")
    assert "the text tower of" in message
    assert "smallest cosine 0.0000 (limit 0.95)" in message


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"labels": "labels.txt"}, "labels: is for pictures, not for text"),
        ({"image_size": 224}, "image_size: is for pictures, not for text"),
        ({"calibrate": "photos", "precision": "int8"}, "calibrate: is for pictures, not for text"),
        ({"checkpoint": "x.pth"}, "checkpoint: is for pictures, not for text"),
        ({"weights": "random"}, "weights: is for pictures, not for text"),
        ({"keep_float": ("*",), "precision": "int8"}, "keep_float: is for pictures, not for text"),
        ({"precision": "int8", "target": "portable"}, "target='portable': takes static int8 only"),
        ({"precision": "fp16"}, "precision='fp16': is not for the CPU"),
        ({"text": "yes"}, "text: 'yes' is neither True nor False"),
    ],
)
def test_options_that_are_for_pictures(options: dict[str, Any], part: str, tmp_path: Path):
    if "text" in options:
        with pytest.raises(UsageError, match="neither True nor False"):
            export(ExportRequest(model="x", **options))
        return
    assert part in refused(UsageError, "openai/clip-vit-base-patch32", tmp_path, **options)


def test_export_and_export_text_are_told_apart(clip: Path):
    with pytest.raises(UsageError, match=r"text: is for vit_export\.export_text"):
        export(ExportRequest(model=clip, text=True))


def test_the_command_line(clip: Path, tmp_path: Path, vit_export_cli: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = vit_export_cli(clip, "--text", "--precision", "int8")
    assert result.exit_code == 0, result.stderr
    path = Path(f"models/{clip.name}.text.int8.onnx")
    assert result.stdout.strip() == str(path)
    assert "18: same tokens as transformers" in result.stderr
    assert "table of tokens int8 by row" in result.stderr
    again = vit_export_cli(clip, "--text", "--precision", "int8")
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"{path}: exists already; add --force" in again.stderr
    for args, part in (
        (("--target", "cpu,portable"), "--target: one at a time with --text"),
        (("--triton", "models"), "--triton: takes no text towers"),
        (("--attention",), "--attention: is for pictures, not for --text"),
    ):
        wrong = vit_export_cli(clip, "--text", *args)
        assert wrong.exit_code == 2
        assert part in wrong.stderr


def test_gemmas_kind_without_a_configuration_of_its_own(tmp_path: Path):
    """`tokenizer.json` alone: transformers takes it as it is, and knows no token to fill up with."""
    folder = tmp_path / "siglip"
    vocabulary = save_gemma_tokenizer(folder)
    seeded(hf.SiglipModel(siglip_config(vocabulary))).save_pretrained(folder)
    (folder / "tokenizer_config.json").unlink()
    message = refused(CheckpointError, folder, tmp_path)
    assert "pad" in message
