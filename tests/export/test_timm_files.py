"""Weights with timm's names by themselves, and at another picture size: as timm loads the same file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.errors import CheckpointError
from vit_export.progress import Silent
from vit_export.read.prepare import read_and_prepare

from .timm_models import answers, config_of, one_thread, photos, prepared, save, small  # noqa: F401 - one_thread is a fixture

TOLERANCE = 1e-4
"""The export's own. Worst measured: 5.4e-6."""
FILTERS = {"vit": checkpoint_filter_fn, "deit": functools.partial(checkpoint_filter_fn, adapt_layer_scale=True)}
"""What timm passes a file through when it loads it: `vision_transformer.py` and `deit.py`."""


class Notes(Silent):
    def __init__(self):
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def loaded_by_timm(name: str, path: Path, **options: Any) -> nn.Module:
    """timm's model with the weights of a file, renamed and resampled by timm."""
    model = timm.create_model(name, depth=2, **options)
    timm.models.load_checkpoint(model, str(path), filter_fn=FILTERS[name[:4].rstrip("_3")])
    return model.eval()


def difference(path: Path, model: nn.Module) -> float:
    """The largest difference from timm's model, which prepares photos by what timm does where nothing is known."""
    cfg = {"input_size": (3, *model.patch_embed.img_size)}
    return worst(path, answers(model, prepared(cfg)))


def worst(path: Path, expected: Mapping[str, np.ndarray]) -> float:
    runtime = vit.load(path)
    assert set(runtime.artifact.outputs) == set(expected)
    ours = {"embedding": runtime.embed(photos())}
    if "logits" in expected:
        ours["logits"] = runtime.logits(photos())
    return max(float(np.abs(ours[output] - values).max()) for output, values in expected.items())


def as_facebook_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DeiT III's own checkpoint: `gamma_1` where timm has `ls1.gamma` (github.com/facebookresearch/deit)."""
    return {name.replace(".ls1.gamma", ".gamma_1").replace(".ls2.gamma", ".gamma_2"): t for name, t in state.items()}


def as_dinov2(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv2's own checkpoint: a mask token, registers by another name, and a position for the class token."""
    state = dict(state)
    width = state["cls_token"].shape[-1]
    generator = torch.Generator().manual_seed(9)
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        row = torch.randn(1, 1, width, generator=generator)
        state["pos_embed"] = torch.cat([row, state["pos_embed"]], dim=1)
    return state | {"mask_token": torch.randn(1, width, generator=generator)}


BARE: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "ViT": ("vit_tiny_patch16_224", dict, {"num_classes": 7}, ".safetensors"),
    "ViT, a training script's": ("vit_tiny_patch16_224", dict, {"num_classes": 7}, ".pth"),
    "DeiT": ("deit_tiny_patch16_224", dict, {"num_classes": 7}, ".pth"),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", dict, {"num_classes": 7}, ".pth"),
    "DeiT III": ("deit3_small_patch16_224", dict, {"num_classes": 7}, ".safetensors"),
    "DeiT III, Facebook's": ("deit3_small_patch16_224", as_facebook_names, {"num_classes": 7}, ".pth"),
    "DINO": ("vit_small_patch16_224", dict, {"num_classes": 0}, ".pth"),
    "DINOv2": ("vit_small_patch14_dinov2", dict, {}, ".safetensors"),
    "DINOv2, Facebook's": ("vit_small_patch14_dinov2", as_dinov2, {}, ".pth"),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", dict, {}, ".safetensors"),
    "DINOv2 with registers, Facebook's": ("vit_small_patch14_reg4_dinov2", as_dinov2, {}, ".pth"),
    "averaged, register": ("vit_wee_patch16_reg1_gap_256", dict, {"num_classes": 7}, ".safetensors"),
    "averaged, norm before": ("vit_medium_patch16_gap_240", dict, {"num_classes": 7, "fc_norm": False}, ".pth"),
    "averaged, class token": ("vit_tiny_patch16_224", dict, {"num_classes": 7, "global_pool": "avg"}, ".pth"),
}


def write(path: Path, state: Mapping[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(dict(state), path)
    else:
        torch.save({"model": dict(state), "epoch": 3}, path)  # as Facebook's training scripts do
    return path


@pytest.mark.parametrize("case", BARE)
def test_a_file_of_weights_is_read_as_timm_reads_it(case, folder):
    name, renamed, options, suffix = BARE[case]
    model = small(name, **options)
    path = write(folder / f"weights{suffix}", renamed(model.state_dict()))
    expected = loaded_by_timm(name, path, img_size=model.patch_embed.img_size, **options)

    exported = export(ExportRequest(model=str(path), output=folder), Silent())

    assert exported.path.name == "weights.onnx"
    assert exported.artifact.source.family == "timm"
    assert exported.artifact.source.weights == path.name
    assert difference(exported.path, expected) < TOLERANCE


def test_what_a_file_does_not_say_is_named(folder):
    model = small("vit_tiny_patch16_224")
    path = write(folder / "weights.pth", model.state_dict())
    notes = Notes()
    export(ExportRequest(model=str(path), output=folder), notes)
    text = "\n".join(notes.lines)
    assert "attention heads it has; using 3" in text
    assert "resize the shortest edge to 73 (bicubic), crop 64x64, mean (0.485" in text  # timm's: 64 / 0.875


def test_heads_of_a_file_can_be_said(folder):
    """ViT-Tiny's width with two heads, which no rule can guess."""
    model = small("vit_tiny_patch16_224", num_heads=2, num_classes=7)
    path = write(folder / "weights.safetensors", model.state_dict())
    notes = Notes()
    exported = export(ExportRequest(model=str(path), output=folder, heads=2), notes)
    assert difference(exported.path, model) < TOLERANCE
    assert "heads" not in "".join(notes.lines)


def test_pytorch_model_bin_of_a_folder_is_read_too(folder):
    """What timm's older repositories hold."""
    model = small("vit_tiny_patch16_224", num_classes=7)
    save(folder / "model", {}, config_of(model))
    (folder / "model" / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "model" / "pytorch_model.bin")
    exported = export(ExportRequest(model=str(folder / "model"), output=folder))
    assert worst(exported.path, answers(model, prepared(config_of(model)["pretrained_cfg"]))) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_read_as_what_they_are(dtype, folder):
    model = small("vit_tiny_patch16_224", num_classes=7).to(dtype).float()
    path = write(folder / "weights.safetensors", {name: t.to(dtype) for name, t in model.state_dict().items()})
    assert difference(export(ExportRequest(model=str(path), output=folder)).path, model) < TOLERANCE


# Another picture size than that of the weights.

RESAMPLED = {
    "position of the class token": ("vit_tiny_patch16_224", {"num_classes": 7}),
    "positions of two tokens": ("deit_tiny_distilled_patch16_224", {"num_classes": 7}),
    "of patches only": ("deit3_small_patch16_224", {"num_classes": 7}),
    "registers": ("vit_small_patch14_reg4_dinov2", {}),
    "averaged": ("vit_wee_patch16_reg1_gap_256", {"num_classes": 7}),
}


@pytest.mark.parametrize("patches", [3, 12])
@pytest.mark.parametrize("case", RESAMPLED)
def test_positions_are_resampled_as_timm_resamples_them(case, patches, folder):
    """Up and down from 5 patches a side; downwards timm widens the filter (antialias)."""
    name, options = RESAMPLED[case]
    model = small(name, patches=5, **options)
    # A crop of the whole picture: how a resize is rounded at another size has a test of its own.
    config = config_of(model, crop_pct=1.0)
    save(folder / "model", model.state_dict(), config)
    size = patches * model.patch_embed.patch_size[0]
    resized = loaded_by_timm(name, folder / "model" / "model.safetensors", img_size=size, **options)

    exported = export(ExportRequest(model=str(folder / "model"), output=folder, image_size=size))

    assert exported.artifact.architecture.image_size == size
    assert worst(exported.path, answers(resized, prepared(config["pretrained_cfg"], img_size=size))) < TOLERANCE


@pytest.mark.parametrize("crop", [{}, {"crop_pct": 0.95}, {"crop_pct": 1.0}, {"crop_mode": "squash"}], ids=str)
@pytest.mark.parametrize("size", [160, 192, 256, 384, 512])
def test_photos_at_another_size_are_prepared_as_timm_prepares_them(size, crop, folder):
    """timm divides the size that is asked for by crop_pct, and rounds down."""
    model = small("vit_tiny_patch16_224", patches=14, depth=1, num_classes=7)
    config = config_of(model, **crop)
    save(folder / "model", model.state_dict(), config)
    asked = timm.data.resolve_data_config({"img_size": size}, pretrained_cfg=config["pretrained_cfg"])
    resize = timm.data.create_transform(**asked).transforms[0].size

    preprocessing = read_and_prepare(
        ExportRequest(model=str(folder / "model"), image_size=size), Silent()
    ).preprocessing

    assert preprocessing.crop_hw == (size, size)
    assert (preprocessing.resize_hw or preprocessing.resize_shortest_edge) == resize


def test_a_bare_file_at_another_size(folder):
    model = small("vit_tiny_patch16_224", num_classes=7)
    path = write(folder / "weights.pth", model.state_dict())
    resized = loaded_by_timm("vit_tiny_patch16_224", path, img_size=96, num_classes=7)
    exported = export(ExportRequest(model=str(path), output=folder, image_size=96))
    assert difference(exported.path, resized) < TOLERANCE


def test_the_size_that_weights_have_changes_nothing(folder):
    model = small("vit_tiny_patch16_224", num_classes=7)
    save(folder / "model", model.state_dict(), config_of(model))
    exported = export(ExportRequest(model=str(folder / "model"), output=folder, image_size=64))
    assert worst(exported.path, answers(model, prepared(config_of(model)["pretrained_cfg"]))) < TOLERANCE


def test_a_size_that_nothing_prepares_can_be_replaced(folder):
    """What `config.json` states is looked at only where it is used."""
    model = small("vit_tiny_patch16_224", num_classes=7)
    save(folder / "model", model.state_dict(), config_of(model, input_size=[3, 4000, 4000]))
    with pytest.raises(CheckpointError, match=r"for pictures of 64, .* prepares 4000; .*image_size=64 or"):
        export(ExportRequest(model=str(folder / "model"), output=folder))
    exported = export(ExportRequest(model=str(folder / "model"), output=folder, image_size=64))
    assert exported.artifact.preprocessing.crop_hw == (64, 64)


def test_configuration_and_weights_that_disagree_on_the_size(folder):
    """Either is taken when it is asked for; neither is guessed."""
    model = small("vit_tiny_patch16_224", num_classes=7)
    config = config_of(model, input_size=[3, 96, 96], crop_pct=1.0)
    save(folder / "model", model.state_dict(), config)
    with pytest.raises(CheckpointError, match=r"for pictures of 64, .* prepares 96; .*image_size=64 or image_size=96"):
        export(ExportRequest(model=str(folder / "model"), output=folder))
    weights = folder / "model" / "model.safetensors"
    for size in (64, 96):
        exported = export(ExportRequest(model=str(folder / "model"), output=folder, image_size=size, force=True))
        resized = loaded_by_timm("vit_tiny_patch16_224", weights, img_size=size, num_classes=7)
        assert worst(exported.path, answers(resized, prepared(config["pretrained_cfg"], img_size=size))) < TOLERANCE
