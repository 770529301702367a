"""The ways in which people keep the weights of a torchvision Vision Transformer: all give the same answers."""

from __future__ import annotations

import argparse
import hashlib
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.read.torchvision_state import random_state, read_architecture
from vit_runtime.artifact import Architecture
from vit_runtime.errors import UsageError

TOLERANCE = 1e-4


@pytest.fixture
def answers(folder, random_pixels):
    """`answers(path, **options)`: what the export of a checkpoint file says of two pictures."""

    def run(path, **options):
        exported = export(ExportRequest(model=str(path), output=folder / "out.onnx", **options))
        return vit.load(exported.path).run(random_pixels(2, 32))

    return run


@pytest.fixture
def expected(pytorch, random_pixels):
    """`expected(state, **sizes)`: what PyTorch says of the same pictures."""

    def run(state, **sizes):
        return pytorch.run(pytorch.tiny(state, **sizes), pytorch.normalise(random_pixels(2, 32)))

    return run


def assert_same(ours, reference):
    for values, reference_values in zip(ours, reference, strict=True):
        np.testing.assert_allclose(values, reference_values, rtol=0, atol=TOLERANCE)


def with_prefix(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def save_zip(content, path):
    torch.save(content, path)


def save_old(content, path):
    """PyTorch's format before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("weights.safetensors", save_file),
        ("weights.pth", save_zip),
        ("weights.pt", save_zip),
        ("weights.bin", save_zip),
        ("weights", save_zip),
        ("old.pth", save_old),
        ("my weights, v1.2 (ünï).pth", save_zip),
        ("CAPITALS.PTH", save_zip),
        ("CAPITALS.SAFETENSORS", save_file),
    ],
)
def test_every_file_format_is_read(name, save, tiny_state, folder, answers, expected):
    save(tiny_state, folder / name)
    assert_same(answers(folder / name), expected(tiny_state))


@pytest.mark.parametrize(
    "wrap",
    [
        OrderedDict,
        lambda state: {"state_dict": state, "epoch": 3, "best_acc1": 81.2},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}},
        # torchvision's reference script, references/classification/train.py
        lambda state: {"model": state, "epoch": 7, "args": argparse.Namespace(lr=0.1, model="vit_b_16", amp=True)},
        lambda state: with_prefix(state, "module."),  # DistributedDataParallel
        lambda state: with_prefix(state, "_orig_mod."),  # torch.compile
        lambda state: with_prefix(state, "module._orig_mod."),
        lambda state: {"state_dict": with_prefix(state, "model."), "pytorch-lightning_version": "2.5.0"},
        lambda state: {name: nn.Parameter(tensor) for name, tensor in state.items()},
    ],
    ids=[
        "ordered",
        "state_dict",
        "model_state_dict",
        "reference_script",
        "module",
        "compiled",
        "both_prefixes",
        "lightning",
        "parameters",
    ],
)
@pytest.mark.parametrize("save", [save_zip, save_old], ids=["zip", "old"])
def test_what_training_scripts_put_around_the_weights_is_taken_off(wrap, save, tiny_state, folder, answers, expected):
    save(wrap(tiny_state), folder / "training.pth")
    assert_same(answers(folder / "training.pth"), expected(tiny_state))


def test_averaged_weights_are_read_as_torch_saves_them(tiny_state, pytorch, folder, answers, expected):
    torch.save(AveragedModel(pytorch.tiny(tiny_state)).state_dict(), folder / "average.pth")  # brings `n_averaged`
    assert_same(answers(folder / "average.pth"), expected(tiny_state))


def test_averaged_weights_go_before_those_that_they_average(tiny_state, pytorch, folder, answers, expected):
    """The reference script keeps both and evaluates the average."""
    average = AveragedModel(pytorch.tiny(tiny_state)).state_dict()
    last = {name: tensor + 0.1 for name, tensor in tiny_state.items()}
    torch.save({"model": last, "model_ema": average}, folder / "both.pth")
    assert_same(answers(folder / "both.pth"), expected(tiny_state))


@pytest.mark.parametrize("head", ["heads.0.", "heads."], ids=["nn.Sequential", "nn.Linear"])
def test_a_head_that_was_replaced_for_fine_tuning_is_found(head, tiny_state, folder, answers, expected):
    tuned = {name.replace("heads.head.", head): tensor for name, tensor in tiny_state.items()}
    save_file(tuned, folder / "tuned.safetensors")
    assert_same(answers(folder / "tuned.safetensors"), expected(tiny_state))


def test_the_names_of_torchvisions_first_release_are_understood(tiny_state, folder, answers, expected):
    old = {
        n.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): t for n, t in tiny_state.items()
    }
    assert old.keys() != tiny_state.keys()
    save_file(old, folder / "old_names.safetensors")
    assert_same(answers(folder / "old_names.safetensors"), expected(tiny_state))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("save", [save_file, save_zip], ids=["safetensors", "zip"])
def test_other_precisions_answer_as_the_same_values_in_float32(dtype, save, tiny_state, folder, answers, expected):
    stored = {name: tensor.to(dtype) for name, tensor in tiny_state.items()}
    path = folder / ("half.safetensors" if save is save_file else "half.pth")
    save(stored, path)
    assert_same(answers(path), expected(stored))


def test_weights_that_share_memory_or_lie_transposed_in_it_are_read_right(tiny_state, folder, answers, expected):
    everything = torch.cat([tensor.flatten() for tensor in tiny_state.values()])
    views, start = {}, 0
    for name, tensor in tiny_state.items():
        views[name] = everything[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    key = "encoder.layers.encoder_layer_0.self_attention.out_proj.weight"
    views[key] = tiny_state[key].t().contiguous().t()
    assert not views[key].is_contiguous()
    torch.save(views, folder / "views.pth")
    assert_same(answers(folder / "views.pth"), expected(tiny_state))


@pytest.mark.parametrize(
    "sizes",
    [
        {"image_size": 24, "patch_size": 4, "num_layers": 1, "num_heads": 1, "hidden_dim": 64, "mlp_dim": 100},
        {"image_size": 28, "patch_size": 14, "num_layers": 3, "num_heads": 3, "hidden_dim": 192, "num_classes": 2},
        {"image_size": 16, "patch_size": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 128, "num_classes": 1},
    ],
    ids=["patch4", "patch14", "one_patch_one_class"],
)
def test_a_file_by_itself_tells_its_architecture(sizes, folder, pytorch, random_pixels):
    torch.manual_seed(0)
    state = {name: torch.randn(t.shape) * 0.1 for name, t in pytorch.tiny_model(**sizes).state_dict().items()}
    save_file(state, folder / "other.safetensors")

    exported = export(ExportRequest(model=str(folder / "other.safetensors"), output=folder))

    pixels = random_pixels(2, sizes["image_size"])
    reference = pytorch.run(pytorch.tiny(state, **sizes), pytorch.normalise(pixels))
    assert_same(vit.load(exported.path).run(pixels), reference)
    assert exported.artifact.architecture.heads == sizes["num_heads"]
    assert exported.path == folder / "other.onnx"


@pytest.mark.parametrize("heads", [1, 4, 8])
def test_heads_change_the_answers_as_they_do_in_pytorch(heads, tiny_state, tiny_checkpoint, answers, expected):
    reference = expected(tiny_state, num_heads=heads)
    assert np.abs(reference[0] - expected(tiny_state)[0]).max() > 0.01
    assert_same(answers(tiny_checkpoint, heads=heads), reference)


def test_a_width_that_64_does_not_divide_asks_for_heads(folder, pytorch, random_pixels):
    sizes = {"hidden_dim": 96, "num_heads": 3}
    state = {name: torch.randn(t.shape) * 0.1 for name, t in pytorch.tiny_model(**sizes).state_dict().items()}
    path = folder / "narrow.safetensors"
    save_file(state, path)

    with pytest.raises(UsageError, match=r"^heads: needed: a width of 96"):
        export(ExportRequest(model=str(path), output=folder))

    exported = export(ExportRequest(model=str(path), heads=3, output=folder))
    pixels = random_pixels(2, 32)
    reference = pytorch.run(pytorch.tiny(state, **sizes), pytorch.normalise(pixels))
    assert_same(vit.load(exported.path).run(pixels), reference)


def test_heads_that_do_not_divide_the_width_are_refused(tiny_checkpoint, folder):
    with pytest.raises(UsageError, match=r"^heads: 5 heads do not divide a width of 128"):
        export(ExportRequest(model=str(tiny_checkpoint), heads=5, output=folder))


def test_the_artifact_says_which_file_it_came_from(tiny_checkpoint, tiny_artifact):
    source = vit.load(tiny_artifact).artifact.source
    assert source.weights == tiny_checkpoint.name
    assert source.sha256 == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    assert not source.is_random


def test_reading_a_checkpoint_leaves_it_as_it_was(tiny_state, folder, answers):
    save_zip(tiny_state, folder / "weights.pth")
    before = (folder / "weights.pth").read_bytes()
    answers(folder / "weights.pth", image_size=None)
    assert (folder / "weights.pth").read_bytes() == before


def test_a_file_as_wide_as_vit_h_gets_its_sixteen_heads():
    """1280 is a multiple of 64 as well: 20 heads would verify against PyTorch's model with 20 heads, and be wrong."""
    sizes = {"image_size": 28, "patch_size": 14, "layers": 1, "width": 1280, "mlp_width": 8, "classes": 2}
    state = random_state(Architecture(**sizes, heads=16, layer_norm_eps=1e-6), seed=0)
    assert read_architecture(state, "file").heads == 16
    assert read_architecture(state, "file", heads=20).heads == 20


def test_the_guessed_heads_are_named(vit_export_cli, tiny_checkpoint, folder):
    assert (
        "does not say how many attention heads it has; using 2" in vit_export_cli(tiny_checkpoint, "-o", folder).stderr
    )
