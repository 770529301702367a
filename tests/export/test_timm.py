"""timm's Vision Transformers answer as timm itself does, from the photo to the logits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

import vit_runtime as vit
from vit_export import ExportRequest, PreprocessingOptions, export
from vit_export.similarity import cosines
from vit_export.verify.transforms import normalise
from vit_runtime.artifact import Rollout, read_artifact
from vit_runtime.pictures.preprocess import load_pixels

from .timm_models import answers, config_of, one_thread, photos, prepared, save, seeded, small  # noqa: F401 - one_thread is a fixture

LOG = logging.getLogger(__name__)
TOLERANCE = 1e-4
"""The export's own. Worst measured of the small models: 5.5e-6 of a logit, 5.8e-6 of an embedding, for values to 5."""
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT, AugReg": ("vit_tiny_patch16_224", {}),
    "DeiT": ("deit_tiny_patch16_224", {"num_classes": 7}),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", {}),
    "DeiT, distilled, without heads": ("deit_tiny_distilled_patch16_224", {"num_classes": 0}),
    "DeiT III": ("deit3_small_patch16_224", {}),
    "DINO": ("vit_small_patch8_224", {"num_classes": 0}),
    "DINOv2": ("vit_small_patch14_dinov2", {}),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", {}),
    "DINOv2 with registers and head": ("vit_small_patch14_reg4_dinov2", {"num_classes": 7}),
    "averaged, no class token, register": ("vit_wee_patch16_reg1_gap_256", {}),
    "averaged, no class token, no bias": ("vit_medium_patch16_gap_240", {}),
    "averaged, with class token": ("vit_small_patch16_224", {"global_pool": "avg"}),
    "averaged, with class token, norm before": ("vit_small_patch16_224", {"global_pool": "avg", "fc_norm": False}),
    "no bias of queries, keys, values": ("vit_base_patch16_224_miil", {"num_classes": 7}),
    "tanh": ("vit_base_patch32_siglip_gap_256", {"num_classes": 7}),
    "SigLIP": ("vit_base_patch16_siglip_224", {}),
    "SigLIP 2 with tanh and head": ("vit_base_patch32_siglip_256", {"num_classes": 7}),
    "CLIP with classes": ("vit_xsmall_patch16_clip_224", {"num_classes": 7}),
    "CLIP, quick GELU": ("vit_base_patch32_clip_quickgelu_224", {"num_classes": 0}),
    "DINOv3": ("vit_small_patch16_dinov3", {}),
    "DINOv3 with bias, class token and head": (
        "vit_tiny_patch16_dinov3_qkvb",
        {"global_pool": "token", "num_classes": 7},
    ),
    "DINOv3 with gates": ("vit_small_plus_patch16_dinov3", {}),
    "rotary by axis": ("vit_small_patch16_rope_224", {"num_classes": 7}),
    "rotary by axis, and positions": ("vit_small_patch16_rope_ape_224", {"num_classes": 7}),
    "rotary by head": ("vit_small_patch16_rope_mixed_224", {"num_classes": 7}),
    "rotary by head, and positions": ("vit_small_patch16_rope_mixed_ape_224", {"num_classes": 7}),
    "rotary by axis, averaged, register": ("vit_medium_patch16_rope_reg1_gap_256", {"num_classes": 7}),
    "EVA-02": ("eva02_tiny_patch14_224", {"num_classes": 7}),
}


def exported(model: nn.Module, folder: Path, config: dict[str, Any] | None = None, **options: Any) -> vit.ViT:
    """The model through a folder as the hub has it, and through the exported file."""
    save(folder / "model", model.state_dict(), config or config_of(model))
    return vit.load(export(ExportRequest(model=str(folder / "model"), output=folder / "model.onnx", **options)).path)


def differences(runtime: vit.ViT, expected: dict[str, np.ndarray], photographs=None) -> dict[str, float]:
    """The largest difference of each output, one photo at a time and in batches of three."""
    photographs = photos() if photographs is None else photographs
    assert set(runtime.artifact.outputs) - {"rollout"} == set(expected)
    ask = {"embedding": runtime.embed, "logits": runtime.logits}
    return {
        output: max(float(np.abs(ask[output](photographs, batch_size=size) - values).max()) for size in (1, 3))
        for output, values in expected.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_answers_as_timm_does(case, folder):
    name, options = CASES[case]
    model = small(name, **options)
    expected = answers(model, prepared(config_of(model)["pretrained_cfg"]))
    for values in expected.values():  # where all are alike, a comparison of them proves nothing
        assert values.std(axis=1).min() > 0.1
        assert values.std(axis=0).mean() > 100 * TOLERANCE

    runtime = exported(model, folder)

    found = differences(runtime, expected)
    LOG.info("%s: largest differences %s", name, found)  # shown by --log-cli-level=INFO
    assert max(found.values()) < TOLERANCE, found
    assert runtime.artifact.source.family == "timm"


@pytest.mark.parametrize("case", ["DeiT, distilled", "DeiT III", "DINOv2 with registers and head"])
def test_every_parameter_counts(case):
    """Guards the test above: an export that drops or mixes up a single parameter cannot pass it."""
    name, options = CASES[case]
    model = small(name, **options)
    inputs = prepared(config_of(model)["pretrained_cfg"])[:2]
    before = answers(model, inputs)
    for parameter_name, parameter in model.named_parameters():
        kept = parameter.data
        parameter.data = kept.roll(1, dims=-1) if kept.shape[-1] > 1 else kept * 2
        after = answers(model, inputs)
        parameter.data = kept
        moved = max(np.abs(after[output] - before[output]).max() for output in before)
        assert moved > 100 * TOLERANCE, parameter_name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop_pct": 1.0, "interpolation": "bilinear"},
        {"crop_pct": 0.95, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"crop_pct": None, "interpolation": None, "mean": None, "std": None},
        {"crop_mode": "squash", "crop_pct": 1.0},
        {"crop_mode": "squash", "crop_pct": 0.9, "interpolation": "lanczos"},
        {"crop_mode": "center", "crop_pct": 0.875, "interpolation": "nearest"},
        {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    ],
    ids=lambda changes: ", ".join(f"{name} {value}" for name, value in changes.items()) or "as it is",
)
def test_photos_are_prepared_as_timm_prepares_them(changes, folder):
    """To the last byte; answers too, which shows that mean and std in the graph are these."""
    model = small("vit_tiny_patch16_224", num_classes=7)
    config = config_of(model, **changes)
    inputs = prepared(config["pretrained_cfg"])

    runtime = exported(model, folder, config)

    preprocessing = runtime.artifact.preprocessing
    ours = torch.stack([normalise(load_pixels(photo, preprocessing), preprocessing) for photo in photos()])
    assert torch.equal(ours, inputs)
    assert max(differences(runtime, answers(model, inputs)).values()) < TOLERANCE


def test_options_go_before_what_the_folder_says(folder):
    model = small("vit_tiny_patch16_224", num_classes=7)
    changed = {"interpolation": "bilinear", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    runtime = exported(model, folder, preprocessing=PreprocessingOptions(resize=64, **changed))
    inputs = prepared(config_of(model, crop_pct=1.0, **changed)["pretrained_cfg"])
    assert max(differences(runtime, answers(model, inputs)).values()) < TOLERANCE


def test_what_the_folder_says_stands_in_the_file(folder):
    model = small("vit_small_patch14_reg4_dinov2", num_classes=7)
    artifact = exported(model, folder, config_of(model, license="cc-by-nc-4.0")).artifact
    assert artifact.model == "model"
    assert artifact.source.weights == "model"  # and no path of this machine
    assert artifact.source.licence == "cc-by-nc-4.0"
    assert artifact.source.seed is None
    arch = artifact.architecture
    assert (arch.registers, arch.class_token, arch.pooling, arch.classes) == (4, True, "class_token", 7)
    assert artifact.verification.same_pixels == artifact.verification.pictures
    assert "plain" in artifact.verification.reference


# What timm itself writes.


def saved_by_timm(folder: Path, model: nn.Module, **options: Any) -> nn.Module:
    """`timm.models.save_for_hf`, and what timm makes of it where it is loaded again."""
    timm.models.save_for_hf(model, folder, safe_serialization=True, **options)
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64, "num_classes": 7, "drop_path_rate": 0.1}),
        ("vit_tiny_patch16_224", {"num_classes": 7, "global_pool": "avg", "dynamic_img_size": True}),
    ],
    ids=["class token", "averaged, of any size"],
)
def test_a_fine_tuned_model_as_timm_saves_it(name, options, folder):
    """Today's timm writes arguments of the model beside its configuration: `img_size: [64, 64]`, `in_chans: 3`."""
    model = saved_by_timm(folder / "fine-tuned", seeded(timm.create_model(name, **options)))
    expected = answers(model, prepared(model.pretrained_cfg))
    path = export(ExportRequest(model=str(folder / "fine-tuned"), output=folder)).path
    assert path.name == "fine-tuned.onnx"
    assert max(differences(vit.load(path), expected).values()) < TOLERANCE


def test_a_head_that_was_replaced_after_loading(folder):
    """`reset_classifier` with another pooling leaves the norm where it is and says so: `fc_norm: false`."""
    model = seeded(timm.create_model("vit_tiny_patch16_224", img_size=64))
    model.reset_classifier(5, "avg")
    model = saved_by_timm(folder / "reset", seeded(model))
    expected = answers(model, prepared(model.pretrained_cfg))
    runtime = vit.load(export(ExportRequest(model=str(folder / "reset"), output=folder)).path)
    assert max(differences(runtime, expected).values()) < TOLERANCE


@pytest.mark.parametrize("place", ["beside pretrained_cfg", "in pretrained_cfg"])
def test_class_names_come_along(place, folder):
    """timm writes `label_names` beside `pretrained_cfg`, and takes it into it when it reads the file."""
    model = small("vit_tiny_patch16_224", num_classes=3)
    labels = {"label_names": ["a cat", "a dog", "neither"]}
    config = config_of(model) | labels if place.startswith("beside") else config_of(model, **labels)
    assert exported(model, folder, config).artifact.labels == ("a cat", "a dog", "neither")


# Other precisions, and attention maps.

SHOWN = {
    "averaged, register": ("vit_wee_patch16_reg1_gap_256", {"num_classes": 7}),
    "averaged, class token": ("vit_tiny_patch16_224", {"num_classes": 7, "global_pool": "avg"}),
    "registers": ("vit_small_patch14_reg4_dinov2", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {"num_classes": 7}),
}


@pytest.mark.parametrize("options", [{"global_pool": "avg"}, {"reg_tokens": 4}], ids=["averaged", "registers"])
@pytest.mark.parametrize("kind", ["dynamic int8", "static int8", "portable fp16"])
def test_other_precisions(kind, options, folder, calibration_folder):
    """The verification holds them to PyTorch; here the facts, and that answers are still those of timm."""
    model = small("vit_tiny_patch16_224", depth=3, num_classes=7, **options)
    expected = answers(model, prepared(config_of(model)["pretrained_cfg"]))
    request = {"precision": kind.split()[1], "target": "portable" if "portable" in kind else "cpu"}
    if kind == "static int8":
        request["calibrate"] = calibration_folder

    runtime = exported(model, folder, rollout=Rollout(head_fusion="mean", discard_ratio=0.0), **request)

    artifact = read_artifact(folder / "model.onnx")
    assert (artifact.precision, artifact.target) == (request["precision"], request["target"])
    assert (artifact.quantization is not None) == (artifact.precision == "int8")
    assert artifact.verification.outputs[-1].output == "rollout"
    found = cosines(runtime.embed(photos()), expected["embedding"]).min()
    LOG.info("%s of %s: smallest cosine %s", kind, options, found)  # int8 0.9995, fp16 0.999997
    assert found > (0.99 if artifact.precision == "int8" else 0.9999)


def attention_matrices(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """timm's own attention weights (L, N, H, S, S): the softmax is what `attn_drop` is handed."""
    caught: list[torch.Tensor] = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _module, args: caught.append(args[0]))
    with torch.inference_mode():
        model(inputs)
    return torch.stack(caught).double().numpy()


def rollout_by_formula(attention: np.ndarray, fusion: str, *, prefix: int, averaged: bool) -> np.ndarray:
    """Abnar and Zuidema (2020): A = (W + I) / 2, A_L · … · A_1, and of it the answer's row: (N, patches).

    Rows of the largest weights add up to more than 1 and are scaled to it.
    """
    fused = attention.mean(2) if fusion == "mean" else attention.max(2)  # (L, N, S, S)
    identity = product = np.eye(fused.shape[-1])
    for weights in fused:  # the first layer's acts first, so it stands last in the product
        layer = (weights + identity) / 2
        if fusion == "max":
            layer = layer / layer.sum(-1, keepdims=True)
        product = layer @ product
    row = product[:, prefix:].mean(1) if averaged else product[:, 0]
    return row[:, prefix:]


@pytest.mark.parametrize("case", SHOWN)
@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_rollout_equals_the_formula(fusion, case, folder):
    name, options = SHOWN[case]
    model = small(name, depth=3, **options)
    runtime = exported(model, folder, rollout=Rollout(head_fusion=fusion, discard_ratio=0.0))
    attention = attention_matrices(model, prepared(config_of(model)["pretrained_cfg"]))
    averaged = model.global_pool == "avg"
    expected = rollout_by_formula(attention, fusion, prefix=model.num_prefix_tokens, averaged=averaged)

    found = np.stack([attended.values.ravel() for attended in runtime.attend(photos(), batch_size=3)])

    assert found.shape == expected.shape == (4, 16)
    assert expected.std(axis=1).min() > 1e-4  # told apart from a map that is even
    LOG.info("%s, %s: largest difference %s", name, fusion, np.abs(found - expected).max())
    # Worst measured: 1e-7, of values around 0.05.
    assert np.abs(found - expected).max() <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_base_patch16_224", "vit_small_patch14_dinov2"])
def test_a_full_size_model_answers_as_timm_does(name, folder):
    model = seeded(timm.create_model(name))
    expected = answers(model, prepared(config_of(model)["pretrained_cfg"]))
    found = differences(exported(model, folder), expected)
    LOG.info("%s: largest differences %s", name, found)
    # Measured: 2.7e-6 and 3.0e-6 of an embedding, 3.2e-6 of a logit.
    assert max(found.values()) < TOLERANCE, found
