"""timm's SigLIP, CLIP, DINOv3, RoPE-ViT and EVA-02: what they have that a plain Vision Transformer lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.read.rotary import paired_in_halves
from vit_runtime.artifact import Rollout

from .against_library import OF_TIMM, _no_network, exported_fixture, notes_fixture, reference, shallow_fixture  # noqa: F401 - fixtures
from .test_timm import differences
from .timm_models import answers, config_of, one_thread, prepared, save, seeded, small  # noqa: F401 - one_thread is a fixture

TOLERANCE = 1e-4
PAPER = Rollout(head_fusion="mean", discard_ratio=0.0)
ENCODERS = {
    "SigLIP": "vit_base_patch16_siglip_224",
    "CLIP": "vit_xsmall_patch16_clip_224",
    "DINOv3": "vit_small_patch16_dinov3",
    "DINOv3 with gates": "vit_small_plus_patch16_dinov3",
    "rotary by axis": "vit_small_patch16_rope_224",
    "rotary by head, and positions": "vit_small_patch16_rope_mixed_ape_224",
    "averaged": "vit_medium_patch16_rope_reg1_gap_256",
    "EVA-02": "eva02_tiny_patch14_224",
}
ARITHMETIC = {
    "If",
    "Shape",
    "Range",
    "Expand",
    "ConstantOfShape",
    "Where",
    "Equal",
    "Concat",
    "Loop",
    "Resize",
    "Cos",
    "Sin",
}
"""Operators of traced graphs that trouble accelerators: shapes computed, masks applied, positions made anew."""


def of_clip(**options: Any) -> nn.Module:
    """CLIP as published: the head is a projection, and its bias is zeros."""
    model = small("vit_xsmall_patch16_clip_224", **options)
    nn.init.zeros_(model.head.bias)
    return model


@pytest.fixture
def folder_of(folder, shallow):
    """`folder_of(encoder)`: a folder as the hub has it, of a model two blocks deep."""

    def make(encoder: str):
        shallow(ENCODERS[encoder])
        model = of_clip() if encoder == "CLIP" else small(ENCODERS[encoder])
        return save(folder / "model", model.state_dict(), config_of(model))

    return make


@pytest.mark.parametrize("patches", [3, 7])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_another_size_is_as_in_timm(encoder, patches, folder_of, exported):
    """Answers and attention: the export holds both to timm's own model of that size."""
    path = folder_of(encoder)
    size = patches * (14 if encoder == "EVA-02" else 16)
    done = exported(path, image_size=size, rollout=PAPER)
    assert reference(done) == OF_TIMM
    assert done.artifact.architecture.grid == patches
    assert done.artifact.outputs[-1] == "rollout"


def test_pixels_that_fill_no_patch_are_left_out_as_timm_does(folder, exported, shallow):
    """As of SigLIP's So400m, whose pictures of 384 are no multiple of its patches of 14."""
    shallow("vit_tiny_patch16_224")
    model = seeded(timm.create_model("vit_tiny_patch16_224", img_size=40))
    assert model.patch_embed.grid_size == (2, 2)
    done = exported(save(folder / "model", model.state_dict(), config_of(model)))
    assert reference(done) == OF_TIMM
    arch = done.artifact.architecture
    assert (arch.image_size, arch.grid) == (40, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "int8"},
        {"precision": "int8", "target": "portable"},
        {"precision": "int8", "target": "openvino"},
        {"precision": "fp16", "target": "portable"},
        {"precision": "fp16", "target": "gpu"},
    ],
    ids=lambda options: " ".join(options.values()),
)
@pytest.mark.parametrize(
    "encoder",
    [
        pytest.param("SigLIP", marks=pytest.mark.slow),  # timm has none smaller than Base
        "CLIP",
        "DINOv3 with gates",
        "rotary by head, and positions",
    ],
)
def test_other_precisions_and_targets(encoder, options, folder_of, exported, calibration_folder):
    if options["precision"] == "int8":
        options = options | {"calibrate": calibration_folder}
    done = exported(folder_of(encoder), **options)
    assert reference(done) == OF_TIMM
    least = min(check.min_cosine for check in done.artifact.verification.outputs)
    # Worst measured: 0.987 (CLIP, portable int8), elsewhere above 0.99.
    assert least > (0.98 if options["precision"] == "int8" else 0.9999)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_graph_computes_no_shapes_and_takes_no_masks(encoder, folder_of, exported):
    graph = onnx.load(exported(folder_of(encoder), rollout=PAPER).path).graph
    assert {node.op_type for node in graph.node} & ARITHMETIC == set()
    assert [value.name for value in graph.input] == ["pixels"]
    assert {node.domain for node in graph.node} == {""}


@pytest.mark.parametrize("encoder", ["SigLIP", "CLIP", "DINOv3", "rotary by head, and positions", "EVA-02"])
def test_a_file_that_is_called_as_its_architecture(encoder, folder, exported, shallow):
    """With as many patches as timm has there: a file of rotary weights tells no size."""
    name = ENCODERS[encoder]
    shallow(name)
    model = seeded(timm.create_model(name, num_classes=0))
    path = folder / f"{name}.mine.safetensors"
    save_file(model.state_dict(), path)
    done = exported(path)
    assert reference(done) == OF_TIMM
    assert done.artifact.architecture.image_size == model.patch_embed.img_size[0]


# CLIP's projection.


@pytest.mark.parametrize("against", [None, "library"])
def test_clips_head_without_a_bias_is_a_projection(against, folder, shallow):
    shallow("vit_xsmall_patch16_clip_224")
    model = of_clip()
    save(folder / "model", model.state_dict(), config_of(model))
    request = ExportRequest(model=str(folder / "model"), output=folder / "out.onnx", against=against)
    runtime = vit.load(export(request).path)
    arch = runtime.artifact.architecture
    assert (arch.classes, arch.projection, arch.norm_before_blocks) == (0, 512, True)
    expected = answers(model, prepared(config_of(model)["pretrained_cfg"]))["logits"]  # timm's name for them
    assert max(differences(runtime, {"embedding": expected}).values()) < TOLERANCE


def test_a_projection_counts_with_every_weight():
    """Guards the test above, as `test_every_parameter_counts` does for others."""
    model = of_clip()
    inputs = prepared(config_of(model)["pretrained_cfg"])[:2]
    before = answers(model, inputs)["logits"]
    for name, parameter in model.named_parameters():
        kept = parameter.data
        parameter.data = kept.roll(1, dims=-1)
        after = answers(model, inputs)["logits"]
        parameter.data = kept
        assert name == "head.bias" or np.abs(after - before).max() > 100 * TOLERANCE, name


def test_a_head_with_a_bias_has_classes(folder):
    model = small("vit_xsmall_patch16_clip_224")  # 512 outputs, as many as the projection has
    save(folder / "model", model.state_dict(), config_of(model))
    runtime = vit.load(export(ExportRequest(model=str(folder / "model"), output=folder)).path)
    assert (runtime.artifact.architecture.classes, runtime.artifact.architecture.projection) == (512, 0)


def test_pairs_of_neighbours_become_halves():
    """Products of queries and keys stay the same, since both are reordered alike."""
    generator = torch.Generator().manual_seed(0)
    query, key = ((torch.randn(12, 5, generator=generator), torch.randn(12, generator=generator)) for _ in "qk")
    reordered = [paired_in_halves(pair, 3) for pair in (query, key)]
    assert reordered[0][0][:4].equal(query[0][[0, 2, 1, 3]])
    assert reordered[1][1][4:8].equal(key[1][[4, 6, 5, 7]])


FULL = {
    "vit_base_patch16_siglip_224": {},
    "vit_small_patch16_dinov3": {"img_size": 256},
    "vit_base_patch16_rope_mixed_224": {},
    "eva02_tiny_patch14_336": {},
    "vit_base_patch32_clip_quickgelu_224": {},
    "vit_giant_patch14_dinov2": {"depth": 4, "img_size": 224},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_a_full_size_model_answers_as_timm_does(name, folder):
    model = seeded(timm.create_model(name, **FULL[name]))
    config = config_of(model)
    expected = answers(model, prepared(config["pretrained_cfg"]))
    save(folder / "model", model.state_dict(), config)
    del model
    runtime = vit.load(export(ExportRequest(model=str(folder / "model"), output=folder / "out.onnx")).path)
    found = differences(runtime, expected)
    assert max(found.values()) < TOLERANCE, found
