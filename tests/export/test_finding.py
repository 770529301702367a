"""What a model is taken for: a name of torchvision's, a file, a folder, or a repository of the hub."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from vit_export import ExportRequest, export
from vit_export.errors import CheckpointError, DownloadError, UnknownModelError
from vit_export.progress import Silent
from vit_export.read import finding
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.prepare import read_and_prepare
from vit_runtime.errors import UsageError, VitEdgeError

from .timm_models import config_of, save, small

TIMM = {"architecture": "vit_tiny_patch16_224"}
HUGGING_FACE = {"model_type": "vit", "architectures": ["ViTModel"]}
HUB_IDS = [
    ("google/vit-base-patch16-224", "google/vit-base-patch16-224", None),
    ("google/vit-base-patch16-224@main", "google/vit-base-patch16-224", "main"),
    ("google/vit-base-patch16-224@refs/pr/1", "google/vit-base-patch16-224", "refs/pr/1"),
    ("google/vit-base-patch16-224@v1.0", "google/vit-base-patch16-224", "v1.0"),
    ("timm/vit_base_patch16_224.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k", None),
    ("timm/vit_base_patch16_224.augreg_in21k@4f2b", "timm/vit_base_patch16_224.augreg_in21k", "4f2b"),
    ("hf-hub:timm/vit_base_patch16_224.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k", None),
    ("hf_hub:timm/vit_base_patch16_224.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k", None),
    ("hf-hub:me/my-model@v2", "me/my-model", "v2"),
    ("vit_base_patch16_224.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k", None),
    ("vit_small_patch14_reg4_dinov2.lvd142m", "timm/vit_small_patch14_reg4_dinov2.lvd142m", None),
    ("deit3_small_patch16_224.fb_in22k_ft_in1k", "timm/deit3_small_patch16_224.fb_in22k_ft_in1k", None),
    ("deit_tiny_distilled_patch16_224.fb_in1k", "timm/deit_tiny_distilled_patch16_224.fb_in1k", None),
    ("vit_so400m_patch14_siglip_gap_224.webli", "timm/vit_so400m_patch14_siglip_gap_224.webli", None),
    ("me/my.model", "me/my.model", None),
]


@pytest.fixture(autouse=True)
def asked(folder, monkeypatch) -> list[tuple[str, str, str | None]]:
    """What the hub was asked for: repository, file, revision. It is never there, and nothing is in its cache."""

    def refuse(*_):
        raise AssertionError("a test asked the network")

    def download(repository, file, *, revision=None):
        requests.append((repository, file, revision))
        raise LocalEntryNotFoundError("there is no network")

    requests: list[tuple[str, str, str | None]] = []
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(folder)
    return requests


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("timm") / "model"
    model = small("vit_tiny_patch16_224", num_classes=7)
    save(folder, model.state_dict(), config_of(model))
    return folder


def load(model: object, **options: object) -> Checkpoint:
    return finding.read_checkpoint(ExportRequest(model=str(model), **options), Silent())


def family(checkpoint: Checkpoint) -> str:
    """Whose reader it was, by what the readers alone say."""
    if checkpoint.resizing == "corners":
        return "torchvision"
    return "huggingface" if checkpoint.heads_known_by == "config.json says how many there are" else "timm"


def write_config(path: Path, config: object) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"])
def test_names_of_torchvision(name, asked):
    checkpoint = load(name)
    assert (checkpoint.name, family(checkpoint)) == (name, "torchvision")
    assert asked == []


def test_a_folder_of_that_name_does_not_hide_the_model(folder):
    write_config(folder / "vit_b_16", HUGGING_FACE)
    assert family(load("vit_b_16")) == "torchvision"


@pytest.mark.parametrize("kind", ["timm", "huggingface"])
@pytest.mark.parametrize("name", ["model", "google/vit-base", "vit_tiny_patch16_224.tag", "with.dots", "weights.pth"])
def test_folders_come_before_the_hub(name, kind, asked, folder, timm_folder):
    if kind == "timm":
        shutil.copytree(timm_folder, folder / name)
    else:
        write_config(folder / name, HUGGING_FACE)
    assert [family(load(model)) for model in (name, folder / name, f"./{name}/")] == [kind] * 3
    assert asked == []


@pytest.mark.parametrize(
    ("weight", "refusal"),
    [
        ("patch_embed.proj.weight", r"supported are plain ViT, .*\(vit_\*, deit\*, eva\*\)"),
        ("model.patch_embed.proj.weight", r"supported are plain ViT, .*\(vit_\*, deit\*, eva\*\)"),
        ("conv_proj.weight", r"give the state dict of a torchvision\.models\.VisionTransformer"),
    ],
)
@pytest.mark.parametrize("name", ["weights.safetensors", "owner/weights.pt", "vit_base_patch16_224.tag", "owner/name"])
def test_files_come_before_the_hub(name, weight, refusal, asked, folder):
    """Of one weight each family makes another complaint."""
    (folder / name).parent.mkdir(exist_ok=True)
    tensors = {weight: torch.zeros(4)}
    save_file(tensors, folder / name) if name.endswith(".safetensors") else torch.save(tensors, folder / name)
    with pytest.raises(CheckpointError, match=refusal):
        load(name)
    assert asked == []


@pytest.mark.parametrize("prefix", ["", "vit."])
def test_weights_of_hugging_face_by_themselves(prefix, folder):
    save_file({f"{prefix}embeddings.patch_embeddings.projection.weight": torch.zeros(2)}, folder / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"Hugging Face's names, which need their config\.json; give the folder"):
        load("a.safetensors")


@pytest.mark.parametrize(("name", "repository", "revision"), HUB_IDS)
def test_ids_of_the_hub(name, repository, revision, asked):
    with pytest.raises(DownloadError, match=rf"^{repository}.*cannot be downloaded .*huggingface\.co/{repository}, "):
        load(name)
    assert asked == [(repository, "config.json", revision)]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("timm/vit_base_patch16_224.augreg_in21k", "vit_base_patch16_224.augreg_in21k.onnx"),
        ("timm/vit_base_patch16_224.augreg_in21k@main", "vit_base_patch16_224.augreg_in21k.onnx"),
        ("hf-hub:timm/vit_base_patch16_224.augreg_in21k", "vit_base_patch16_224.augreg_in21k.onnx"),
        ("hf_hub:timm/vit_base_patch16_224.augreg_in21k@v1.0", "vit_base_patch16_224.augreg_in21k.onnx"),
        ("vit_base_patch16_224.augreg_in21k", "vit_base_patch16_224.augreg_in21k.onnx"),
        ("google/vit-base-patch16-224", "vit-base-patch16-224.onnx"),
        ("google/vit-base-patch16-224@refs/pr/1", "vit-base-patch16-224.onnx"),
        ("me/model.v2@v1.0", "model.v2.onnx"),
        ("vit_b_16", "vit_b_16.onnx"),
        ("weights.safetensors", "weights.onnx"),
        ("runs/7/vit_base_patch16_224.augreg_in21k.safetensors", "vit_base_patch16_224.augreg_in21k.onnx"),
        ("owner/weights.pth", "weights.onnx"),
        ("FOLDER", "trained.v2.onnx"),
        ("FOLDER/", "trained.v2.onnx"),
        ("FOLDER/.", "trained.v2.onnx"),
    ],
)
def test_what_the_export_is_called(name, file, folder):
    (folder / "trained.v2").mkdir()
    assert f"{finding.model_name(name.replace('FOLDER', str(folder / 'trained.v2')))}.onnx" == file


def test_the_folder_one_stands_in_has_a_name_too(folder, monkeypatch):
    (folder / "my.model").mkdir()
    monkeypatch.chdir(folder / "my.model")
    assert finding.model_name(".") == "my.model"


def test_the_file_is_called_so(folder):
    """From a folder whose name has dots, to a folder."""
    model = small("vit_tiny_patch16_224", num_classes=7)
    save(folder / "vit_tiny.augreg", model.state_dict(), config_of(model))
    exported = export(ExportRequest(model="vit_tiny.augreg", output=folder / "out"))
    assert exported.path == folder / "out" / "vit_tiny.augreg.onnx"
    assert exported.artifact.model == "vit_tiny.augreg"
    assert np.isfinite(exported.artifact.verification.outputs[0].max_difference)


@pytest.mark.parametrize(
    ("name", "error", "pattern"),
    [
        ("nonsense", UnknownModelError, "unknown; known are vit_b_16.*google/vit-base-patch16-224"),
        ("vit_b_61", UnknownModelError, "did you mean vit_b_16"),
        ("/no/such/folder", UnknownModelError, "unknown.*a checkpoint file, a folder, or an id"),
        ("no/such/folder", UnknownModelError, "unknown"),
        ("owner/na me", UnknownModelError, "unknown"),
        ("vit_base_patch16_224", UnknownModelError, r"need their tag: timm/vit_base_patch16_224\.augreg2"),
        ("hf-hub:vit_base_patch16_224", UnknownModelError, "need their tag"),
        ("deit3_small_patch16_224", UnknownModelError, "need their tag"),
        ("weights.pth", CheckpointError, "^weights.pth: no such file"),
        ("owner/weights.safetensors", CheckpointError, "^owner/weights.safetensors: no such file"),
        ("vit_base_patch16_224.safetensors", CheckpointError, "^vit_base_patch16_224.safetensors: no such file"),
        ("vit_base_patch16_224.pth", CheckpointError, "^vit_base_patch16_224.pth: no such file"),
        ("deit_tiny_patch16_224.bin", CheckpointError, "^deit_tiny_patch16_224.bin: no such file"),
        ("./model", VitEdgeError, "./model"),
        ("../model", VitEdgeError, "../model"),
        ("-owner/model", VitEdgeError, "-owner/model"),
        ("owner--me/model", VitEdgeError, "owner--me/model"),
        ("owner/model..v2", VitEdgeError, "owner/model..v2"),
        ("x" * 300, VitEdgeError, "unknown"),
        (f"{'x' * 300}/model", VitEdgeError, "x/model"),
    ],
)
def test_what_is_nothing(name, error, pattern, asked):
    """One line, and the hub is not asked for what cannot be a repository of its own."""
    with pytest.raises(error, match=pattern) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert asked == []


@pytest.mark.parametrize("name", ["x" * 300, f"{'x' * 300}.pth", f"{'x' * 300}/model"])
def test_a_name_too_long_for_a_file(name, vit_export_cli, folder):
    """No system has such a file: no reason for a traceback."""
    result = vit_export_cli(name, "-o", folder / "out.onnx")
    assert result.exit_code in (1, 2)
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (None, "has no config.json; give the folder that holds it, or the file of weights itself"),
        ("{}", r"config.json: is neither Hugging Face's \(model_type\) nor timm's \(architecture\)"),
        ('{"architectures": ["ViTModel"]}', "is neither Hugging Face's"),
        ("[1, 2]", "config.json: holds no JSON object; fetch it again"),
        ("{", r"config.json: no JSON file \(.*\); fetch it again"),
        ("", "config.json: no JSON file"),
        (b"\xff\xfe\x00", "config.json: no JSON file"),
        ("[" * 100_000, "config.json: no JSON file"),
    ],
    ids=["none", "nothing known", "architectures alone", "a list", "cut off", "empty", "no text", "deep"],
)
def test_a_folder_of_something_else(content, pattern, folder):
    (folder / "model").mkdir()
    if content is not None:
        (folder / "model" / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=pattern) as caught:
        load(folder / "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("option", "value"), [("weights", "random"), ("checkpoint", Path("x.pth"))])
@pytest.mark.parametrize("name", ["model", "weights.safetensors", "timm/vit_base_patch16_224.augreg_in21k"])
def test_options_that_belong_to_torchvision(name, option, value, folder, asked):
    write_config(folder / "model", TIMM)
    with pytest.raises(UsageError, match=f"^{option}: does not go with {name}, which brings its weights"):
        load(name, **{option: value})
    assert asked == []


def test_heads_stand_in_a_configuration_of_hugging_face(folder):
    write_config(folder / "model", HUGGING_FACE)
    with pytest.raises(UsageError, match=r"^heads: config\.json says how many there are; leave it out"):
        read_and_prepare(ExportRequest(model="model", heads=12), Silent())
