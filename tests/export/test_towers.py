"""CLIP and SigLIP of Hugging Face's answer as transformers itself does, from the photo to the embedding."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.artifact import Architecture, Rollout

from .hf_models import LABELS, PHOTOS, refuse_network
from .hf_towers import CASES, JOINT, answers, ask, is_clip, make, processor_for, save, vision_config
from .test_huggingface import TOLERANCE, prepared_for, worst

PAPER = Rollout(head_fusion="mean", discard_ratio=0.0)
WITH_TEXTS = ("CLIP with texts", "SigLIP with texts")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    refuse_network(monkeypatch)


@pytest.fixture
def exported(folder):
    """`exported(model_folder, **options)`: the path of its export."""

    def run(path: Path, **options: Any) -> Path:
        return export(ExportRequest(model=str(path), output=folder / "out.onnx", **options)).path

    return run


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_counts(case):
    """Guards the tests below: no parameter of these towers could be wrong unnoticed."""
    model = make(case)
    pixels = processor_for(model)(images=list(PHOTOS), return_tensors="pt")["pixel_values"]
    found = ask(model, pixels)
    found.get("logits", found["embedding"]).square().sum().backward()
    idle = ["k_proj.bias"]  # softmax leaves out what all keys share
    idle += ["vision_model.head."] if "logits" in found else []  # the classifier averages the patches instead
    counts = {name: p.grad is not None and p.grad.abs().max() > 1e-4 for name, p in model.named_parameters()}
    silent = [name for name, does in counts.items() if not does and not any(part in name for part in idle)]
    assert [name for name in silent if not name.startswith(("text_", "logit_"))] == []
    gathered = [name for name in counts if "head.attention.in_proj_bias" in name]
    assert all(counts[name] for name in gathered) or "logits" in found


@pytest.mark.parametrize("side", [None, 48])
@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_transformers(case, side, folder, exported):
    """At batch sizes of 1 and 3, at the checkpoint's size, and where positions are interpolated. Worst: 3.0e-6."""
    model = make(case)
    expected = answers(model, PHOTOS, side)
    assert all(values.std(axis=0).min() > 1e-4 for values in expected.values())  # the photos are told apart
    assert worst(exported(save(model, folder / "model"), image_size=side), expected) <= TOLERANCE


@pytest.mark.parametrize("side", [None, 32])
@pytest.mark.parametrize("case", ["CLIP with projection", "SigLIP"])
def test_pixels_that_fill_no_patch_are_left_out(case, side, folder, exported):
    """As in SigLIP So400m, whose pictures of 384 pixels have 27 patches of 14."""
    model = make(case, image_size=37)
    path = exported(save(model, folder / "model"), image_size=side, against="library", rollout=PAPER)
    runtime, expected = vit.load(path), answers(model, PHOTOS, side)
    assert runtime.attend(PHOTOS[0]).values.shape == (4, 4)
    assert np.abs(runtime.embed(PHOTOS) - expected["embedding"]).max() <= TOLERANCE


# Files, however they are stored.


def as_in_memory(model: transformers.PreTrainedModel, path: Path) -> None:
    save_file(model.state_dict(), path / "model.safetensors")


def as_published(_model: transformers.PreTrainedModel, path: Path) -> None:
    """As transformers 4 saved a tower: with its prefix, and a counter of positions beside the weights."""
    state = load_file(path / "model.safetensors")
    tower = {f"vision_model.{name}": tensor for name, tensor in state.items()}
    state = state if any(name.startswith("vision_model.") for name in state) else tower
    count = state["vision_model.embeddings.position_embedding.weight"].shape[0]
    counters = {"vision_model.embeddings.position_ids": torch.arange(count)[None]}
    if any(name.startswith("text_model.") for name in state):
        counters["text_model.embeddings.position_ids"] = torch.arange(64)[None]
    torch.save(state | counters, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


def in_half(model: transformers.PreTrainedModel, path: Path) -> None:
    state = load_file(path / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in state.items()}, path / "model.safetensors")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())


@pytest.mark.parametrize("store", [as_in_memory, as_published, in_half])
@pytest.mark.parametrize("case", ["CLIP with texts", "CLIP", "SigLIP"])
def test_weights_are_read_however_they_are_stored(case, store, folder, exported):
    model = make(case)
    path = save(model, folder / "model")
    store(model, path)
    assert worst(exported(path), answers(model, PHOTOS)) <= TOLERANCE


@pytest.mark.parametrize("case", ["CLIP with texts", "SigLIP with texts", "SigLIP"])
def test_a_configuration_that_leaves_out_defaults_has_those_of_transformers(case, folder, exported):
    """Files of transformers 4 and before leave out what is as the class has it."""
    defaults = type(vision_config(make(case)))()
    left_out = ("image_size", "patch_size", "intermediate_size", "hidden_act", "layer_norm_eps")
    model = make(case, **{key: getattr(defaults, key) for key in left_out})
    path = save(model, folder / "model")
    config = json.loads((path / "config.json").read_text())
    part = config.get("vision_config", config)
    for key in (*left_out, "num_channels", "vision_use_head", "attention_dropout"):
        part.pop(key, None)
    (path / "config.json").write_text(json.dumps(config))
    assert worst(exported(path), answers(model, PHOTOS)) <= TOLERANCE


def test_sizes_in_the_object_of_2022_come_first(folder, exported):
    """`vision_config_dict` of early files overrules `vision_config`, in transformers too."""
    model = make("CLIP with texts")
    path = save(model, folder / "model")
    config = json.loads((path / "config.json").read_text())
    config |= {"vision_config_dict": config["vision_config"], "vision_config": {"hidden_size": 1280}}
    (path / "config.json").write_text(json.dumps(config))
    theirs = transformers.CLIPModel.from_pretrained(path)
    assert worst(exported(path), answers(theirs, PHOTOS)) <= TOLERANCE


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("CLIP with texts", "CLIPVisionModelWithProjection"),
        ("CLIP with texts", "CLIPVisionModel"),
        ("SigLIP with texts", "SiglipVisionModel"),
    ],
)
def test_a_tower_whose_configuration_describes_both(case, name, folder, exported):
    """transformers loads a tower out of such a folder too, by the part of the configuration that is the tower's."""
    path = save(make(case, projection_dim=JOINT) if is_clip_case(case) else make(case), folder / "model")
    config = json.loads((path / "config.json").read_text()) | {"architectures": [name]}
    (path / "config.json").write_text(json.dumps(config))
    theirs = getattr(transformers, name).from_pretrained(path)
    if name == "CLIPVisionModel":
        state = load_file(path / "model.safetensors")
        state.pop("visual_projection.weight")
        save_file(state, path / "model.safetensors")
    assert worst(exported(path), answers(theirs, PHOTOS)) <= TOLERANCE


def is_clip_case(case: str) -> bool:
    return case.startswith("CLIP")


@pytest.mark.parametrize("case", WITH_TEXTS)
def test_a_processor_of_pictures_and_texts_in_one_file(case, folder, exported):
    """As transformers 5 saves it: there is no preprocessor_config.json."""
    model = make(case)
    path = save(model, folder / "model")
    part = json.loads((path / "preprocessor_config.json").read_text())
    (path / "preprocessor_config.json").unlink()
    (path / "processor_config.json").write_text(json.dumps({"image_processor": part, "processor_class": "x"}))
    assert worst(exported(path, against="library"), answers(model, PHOTOS)) <= TOLERANCE


# What else an export offers.


@pytest.mark.parametrize("case", ["CLIP with texts", "SigLIP"])
@pytest.mark.parametrize(
    ("options", "least"),
    [
        # Smallest cosine with transformers' answer, measured over both: 0.99969, 0.99974, 0.99969, 0.9961 and 0.999996.
        ({"precision": "int8"}, 0.99),
        ({"precision": "int8", "calibrate": True}, 0.99),
        ({"precision": "int8", "calibrate": True, "target": "openvino"}, 0.99),
        ({"precision": "int8", "calibrate": True, "target": "portable"}, 0.99),
        ({"precision": "fp16", "target": "portable"}, 0.9999),
        ({"precision": "fp16", "target": "gpu"}, 0.9999),
        ({"target": "gpu"}, 0.999999),
        ({"target": "openvino"}, 0.999999),
        ({"target": "portable"}, 0.999999),
    ],
    ids=["dynamic", "static", "openvino", "int8 portable", "fp16", "fp16 gpu", "gpu", "fp32 openvino", "portable"],
)
def test_other_precisions_and_targets(case, options, least, folder, exported, calibration_folder):
    model = make(case)
    if "calibrate" in options:
        options = options | {"calibrate": calibration_folder}
    runtime = vit.load(exported(save(model, folder / "model"), rollout=PAPER, **options), provider="cpu")
    assert runtime.artifact.precision == options.get("precision", "fp32")
    found = dict(zip(runtime.artifact.outputs, runtime.run(prepared_for(runtime.artifact)), strict=True))
    for output, values in answers(model, PHOTOS).items():
        norms = np.linalg.norm(found[output], axis=1) * np.linalg.norm(values, axis=1)
        assert ((found[output] * values).sum(axis=1) / norms).min() >= least


@pytest.mark.parametrize("case", ["CLIP with texts", "CLIP", "SigLIP with texts", "SigLIP without pooling head"])
def test_attention_rollout_is_the_papers_on_transformers_attention(case, folder, exported):
    """The class token's row of A_L · … · A_1; for SigLIP the row that the probe's attention mixes, or the mean."""
    model = make(case)
    runtime = vit.load(exported(save(model, folder / "model"), rollout=PAPER))

    model.set_attn_implementation("eager")
    tower = getattr(model, "vision_model", model)
    pixels = processor_for(model)(images=list(PHOTOS), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        seen = tower(pixels, output_attentions=True)
    prefix = int(is_clip(model))
    identity = np.eye(prefix + 16)
    product = identity
    for weights in seen.attentions:
        product = (weights.double().numpy().mean(axis=1) + identity) / 2 @ product
    if is_clip(model):
        expected = product[:, 0, 1:]
    elif hasattr(tower, "head"):
        probe = tower.head.probe.expand(3, -1, -1)
        states = seen.last_hidden_state
        shares = tower.head.attention(probe, states, states, average_attn_weights=False)[1]  # (N, H, 1, S)
        expected = (shares.detach().double().numpy().mean(axis=1) @ product)[:, 0]
    else:
        expected = product.mean(axis=1)

    (found,) = runtime.run(prepared_for(runtime.artifact), ["rollout"])
    assert np.abs(found - expected.reshape(3, 4, 4)).max() <= 1e-6  # worst measured: 3.7e-8, of values around 0.05
    np.testing.assert_array_equal(runtime.attend(PHOTOS[0]).values, found[0])


# What the artifact says about itself.


@pytest.mark.parametrize("case", CASES)
def test_the_artifact_says_what_it_was_made_from(case, folder, exported):
    model = make(case)
    path = save(model, folder / "a-model-0.1")
    artifact = vit.load(exported(path)).artifact
    assert (artifact.source.family, artifact.source.weights) == ("huggingface", "a-model-0.1")
    assert artifact.source.sha256 == hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    clip = is_clip(model)
    expected = Architecture(
        image_size=32,
        patch_size=8,
        layers=3,
        heads=2,
        width=64,
        mlp_width=128,
        classes=0,
        layer_norm_eps=vision_config(model).layer_norm_eps,
        activation="quick" if clip else "tanh",
        norm_before_blocks=clip,
        class_token=clip,
        pooling="class_token" if clip else "attention",
    )
    assert artifact.architecture == replace(expected, **CASES[case][2])
    assert artifact.labels == (tuple(LABELS.values()) if artifact.architecture.classes else None)
    assert artifact.assumptions == ()


# Sizes that are published.

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SO400M = {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304}


@pytest.mark.slow
@pytest.mark.parametrize("resized", [False, True], ids=["", "resized"])
@pytest.mark.parametrize(
    ("case", "sizes"),
    [
        ("CLIP with texts", BASE | {"image_size": 224, "patch_size": 32}),
        ("CLIP with projection", LARGE | {"image_size": 224, "patch_size": 14, "projection_dim": 768}),
        ("SigLIP with texts", BASE | {"image_size": 224, "patch_size": 16}),
        ("SigLIP", BASE | {"image_size": 256, "patch_size": 16}),
        ("SigLIP", SO400M | {"image_size": 384, "patch_size": 14}),
    ],
    ids=["clip-b-32", "clip-l-14", "siglip-b-16-224", "siglip2-b-16-256", "siglip-so400m-14-384"],
)
def test_full_size(case, sizes, resized, folder, exported):
    model = make(case, **sizes)
    side = (sizes["image_size"] // sizes["patch_size"] - 2) * sizes["patch_size"] if resized else None
    path = exported(save(model, folder / "model"), image_size=side)
    expected = answers(model, PHOTOS, side)
    del model
    assert worst(path, expected) <= TOLERANCE
