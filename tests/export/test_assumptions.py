"""What nothing could check is told: by the artifact, by `check` and `info`, and what was compared with what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

import vit_runtime as vit
from vit_export import ExportRequest, export

from . import hf_models


def test_another_number_of_heads_is_told_as_an_assumption(tiny_checkpoint: Path, folder: Path, vit_run: Any):
    """`--heads 16` was exported as "verified", and `check` said that the file answers as PyTorch does."""
    path = export(ExportRequest(model=tiny_checkpoint, heads=16, output=folder / "out.onnx")).path
    (heads, preparation) = vit.read_artifact(path).assumptions
    assert (heads.subject, heads.value, heads.basis) == ("heads", "16", "as asked for at the export")
    assert preparation.subject == "preprocessing"
    for command in ("check", "info"):
        printed = " ".join(vit_run(command, path).stdout.split())
        assert "assumed what the checkpoint does not say, so nothing could check it" in printed
        assert "heads 16 (as asked for at the export)" in printed
    assert json.loads(vit_run("check", path, "--json").stdout)["assumptions"][0]["value"] == "16"


def test_what_was_compared_with_what_is_told(tiny_artifact: Path, folder: Path, vit_run: Any):
    path = hf_models.save(hf_models.make("ViT"), folder / "model")
    ours = export(ExportRequest(model=path, output=folder / "ours.onnx")).path
    assert vit.read_artifact(ours).verification.reading == "vit-edge"
    told = "with the checkpoint as vit-edge reads it"
    assert told in vit_run("check", ours).stdout
    assert told in vit_run("info", ours).stdout
    assert vit.read_artifact(tiny_artifact).verification.reading == "library"
    assert told not in vit_run("check", tiny_artifact).stdout
    assert "answers as torchvision " in vit_run("check", tiny_artifact).stdout


@pytest.mark.parametrize("name", ["my_rope_bridge.safetensors", "the_rpn_club.safetensors"])
def test_a_file_is_not_refused_for_its_name(name: str, folder: Path):
    """Only timm's own architecture names tell of what weights do not show."""
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=7)
    save_file({key: tensor.detach() for key, tensor in model.state_dict().items()}, folder / name)
    artifact = export(ExportRequest(model=folder / name, output=folder / "out.onnx")).artifact
    assert {taken.subject: taken.basis for taken in artifact.assumptions}["activation"] == "the usual kind"


def test_a_kind_of_gelu_by_a_files_name_is_an_assumption(folder: Path):
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_base_patch32_siglip_gap_256", depth=1, img_size=32, num_classes=3)
    state = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    save_file(state, folder / "vit_base_patch32_siglip_gap_256.safetensors")
    request = ExportRequest(model=folder / "vit_base_patch32_siglip_gap_256.safetensors", output=folder / "out.onnx")
    artifact = export(request).artifact
    (activation,) = (taken for taken in artifact.assumptions if taken.subject == "activation")
    assert (activation.value, artifact.architecture.activation) == ("tanh", "tanh")
    assert activation.basis == "the file is called as timm's vit_base_patch32_siglip_gap_256"


def test_fp16_for_a_gpu_says_so_on_the_cpu(tiny_checkpoint: Path, folder: Path, vit_run: Any):
    """The exporter refuses fp16 for the CPU as slow or wrong; the runtime computed it without a word."""
    request = ExportRequest(model=tiny_checkpoint, precision="fp16", target="gpu", output=folder / "half.onnx")
    path = export(request).path
    model = vit.load(path, provider="cpu")
    assert model.note.startswith("this file is fp16, for a GPU; on the CPU onnxruntime computes it slowly")
    Image.new("RGB", (40, 40)).save(folder / "photo.png")
    assert "this file is fp16, for a GPU" in vit_run("embed", path, folder / "photo.png").stderr
