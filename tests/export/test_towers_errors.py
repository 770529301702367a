"""Folders of CLIP and SigLIP that cannot be exported: one line that names cause and remedy, and no file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from safetensors.torch import load_file, save_file

from vit_export import ExportRequest

from .hf_models import randomised, refuse_network
from .hf_towers import TEXT, make, save


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    refuse_network(monkeypatch)


@pytest.fixture
def refusal(folder, refusal_of):
    """`refusal(path)`: what is said of a folder that cannot be exported."""
    output = folder / "out" / "model.onnx"
    return lambda path, **options: refusal_of(ExportRequest(model=str(path), output=output, **options), (str(path),))


@pytest.fixture
def changed(folder):
    """`changed(case, change, vision)`: a saved model with changes of its configuration, and of the tower's part."""

    def write(case: str, change: dict[str, Any], vision: dict[str, Any] | None = None) -> Path:
        path = save(make(case), folder / "model")
        config = json.loads((path / "config.json").read_text()) | change
        if vision is not None:
            config.get("vision_config", config).update(vision)
        (path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))
        return path

    return write


@pytest.mark.parametrize("name", ["CLIPTextModel", "CLIPTextModelWithProjection", "SiglipTextModel"])
def test_a_model_of_texts(name, folder, refusal):
    model_class = getattr(hf, name)
    path = folder / "model"
    randomised(model_class(model_class.config_class(**TEXT)), 1).save_pretrained(path)
    message = refusal(path)
    assert message.startswith(f"{path / 'config.json'}: model type '{name[:4].lower()}")
    assert message.endswith("reads texts, no pictures; give the folder of the whole model, or of its picture tower")


@pytest.mark.parametrize("model_type", ["siglip2", "siglip2_vision_model"])
def test_pictures_of_any_proportions(model_type, changed, refusal):
    message = refusal(changed("SigLIP", {"model_type": model_type, "architectures": ["Siglip2VisionModel"]}))
    assert f"model type '{model_type}' reads pictures of any proportions (NaFlex), which is not supported; " in message
    assert message.endswith("take a checkpoint for pictures of one size, such as google/siglip2-base-patch16-256")


@pytest.mark.parametrize(
    ("case", "change", "vision", "problem"),
    [
        ("CLIP with texts", {"vision_config": "gone"}, None, "has no vision_config, so it describes no pictures"),
        ("CLIP with texts", {"vision_config": None}, None, "has no vision_config"),
        ("SigLIP with texts", {"vision_config": 7}, None, "has no vision_config"),
        ("CLIP with texts", {"architectures": ["CLIPTextModel"]}, None, "architecture CLIPTextModel is not supported"),
        ("CLIP", {"architectures": ["CLIPForImageClassification"]}, None, "supported are CLIPModel, CLIPVisionModelW"),
        ("SigLIP", {"architectures": None}, None, "architecture None is not supported; supported are SiglipModel, "),
        ("CLIP", {"architectures": ["SiglipVisionModel"]}, None, "architecture SiglipVisionModel is not supported"),
        ("CLIP with texts", {"projection_dim": 0}, None, "config.json: projection_dim 0 is not supported"),
        ("CLIP with projection", {"projection_dim": "40"}, None, "config.json: projection_dim 40 is not supported"),
        ("CLIP with texts", {}, {"hidden_act": "relu"}, "config.json, vision_config: hidden_act relu is not supported"),
        ("CLIP with texts", {}, {"image_size": [32, 48]}, r"vision_config: image_size \[32, 48\] is not supported"),
        ("CLIP with texts", {}, {"patch_size": 33}, "image_size 32 is less than patch_size 33"),
        ("SigLIP with texts", {}, {"num_attention_heads": 3}, "width 64 is no multiple of heads 3"),
        ("SigLIP with texts", {}, {"num_channels": 1}, "num_channels 1 is not supported; only 3 are"),
        ("SigLIP with texts", {}, {"layer_norm_eps": None}, "layer_norm_eps None is not supported"),
        ("SigLIP with texts", {}, {"vision_use_head": "no"}, "vision_use_head no is not supported"),
        ("SigLIP that classifies", {"id2label": ["a"]}, None, "id2label is no object"),
    ],
)
def test_a_configuration_that_is_not_supported(case, change, vision, problem, changed, refusal):
    path = changed(case, change, vision)
    message = refusal(path)
    assert message.startswith(f"{path / 'config.json'}")
    assert re.search(problem, message), message


@pytest.mark.parametrize(
    ("case", "change", "vision", "parts"),
    [
        (
            "CLIP with texts",
            {"projection_dim": 24},
            None,
            ["projection.weight is (40, 64) where (24, 64) belongs"],
        ),
        ("CLIP with texts", {}, {"hidden_size": 128}, ["class_embedding is (64,) where (128,) belongs"]),
        ("CLIP with texts", {}, {"num_hidden_layers": 2}, ["16 unexpected (encoder.layers.2."]),
        ("CLIP", {}, {"num_hidden_layers": 4}, ["16 missing (encoder.layers.3."]),
        ("CLIP", {"architectures": ["CLIPVisionModelWithProjection"]}, None, ["1 missing (visual_projection.weight)"]),
        (
            "CLIP with projection",
            {"architectures": ["CLIPVisionModel"]},
            None,
            ["unexpected (visual_projection."],
        ),
        ("SigLIP", {}, {"vision_use_head": False}, ["11 unexpected (head."]),
        ("SigLIP without pooling head", {}, {"vision_use_head": True}, ["11 missing (head.probe"]),
        ("SigLIP", {}, {"intermediate_size": 96}, ["mlp.fc1.weight is (128, 64) where (96, 64) belongs"]),
        ("SigLIP that classifies", {"id2label": {"0": "a"}}, None, ["classifier.weight is (12, 64) where (1, 64)"]),
        ("SigLIP", {"model_type": "clip_vision_model", "architectures": ["CLIPVisionModel"]}, None, ["pre_layrnorm"]),
    ],
)
def test_a_configuration_that_contradicts_the_weights(case, change, vision, parts, changed, refusal):
    path = changed(case, change, vision)
    message = refusal(path)
    assert message.startswith(f"{path}: does not fit the model that its config.json describes: ")
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("case", ["CLIP with texts", "SigLIP with texts"])
def test_weights_of_the_texts_alone(case, folder, refusal):
    path = save(make(case), folder / "model")
    state = load_file(path / "model.safetensors")
    texts = {name: tensor for name, tensor in state.items() if name.startswith("text_")}
    save_file(texts, path / "model.safetensors")
    assert re.search(r"\d+ missing \(embeddings.patch_embedding", refusal(path))


def test_sizes_that_contradict_each_other(folder, refusal):
    path = save(make("SigLIP"), folder / "model", side=48)
    assert "is for pictures of 32, and preprocessor_config.json prepares 48; say which with image_size=32" in refusal(
        path
    )


def test_a_file_of_weights_by_itself(folder, refusal):
    path = save(make("CLIP with texts"), folder / "model") / "model.safetensors"
    assert refusal(path) == f"{path}: has Hugging Face's names, which need their config.json; give the folder with both"
