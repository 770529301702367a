"""Checkpoints that cannot be exported: one line that names the file and the cause, no code run, no file written."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torchvision.models import resnet18
from torchvision.models.vision_transformer import ConvStemConfig

from vit_export import ExportRequest
from vit_export.errors import CheckpointError
from vit_export.read.state_dict import read_state_dict

HIDDEN = "encoder.layers.encoder_layer_1.mlp.0.weight"


@pytest.fixture
def refusal(folder, refusal_of):
    """`refusal(path)`: what is said of a checkpoint that cannot be exported."""

    def run(path, *, model=None) -> str:
        request = ExportRequest(model=model or str(path), checkpoint=path if model else None, output=folder / "out")
        return refusal_of(request, (f"{path}: ", f"{path.name}: "))

    return run


@pytest.fixture
def saved(folder):
    """`saved(state)`: the path of a state dict in a file."""

    def run(state):
        torch.save(state, folder / "weights.pth")
        return folder / "weights.pth"

    return run


def in_zip(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def in_old_format(content: object) -> bytes:
    """PyTorch's format before 1.6."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


# Files that are no checkpoint.


@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors", "no/such/folder/x.pth"])
def test_a_missing_file(name, refusal, folder):
    assert "no such file" in refusal(folder / name)


@pytest.mark.parametrize("name", ["folder.pth", "folder"])
def test_a_folder(name, refusal, folder):
    (folder / name).mkdir()
    message = refusal(folder / name)
    assert "has no config.json; give the folder that holds it, or the file of weights itself" in message
    assert "is a folder, not a checkpoint file; name the file in it" in refusal(folder / name, model="vit_b_16")


@pytest.mark.parametrize("name", ["empty.pth", "empty.safetensors", "empty"])
def test_an_empty_file(name, refusal, folder):
    (folder / name).touch()
    assert "empty file" in refusal(folder / name)


TENSORS = {"a": torch.arange(1000.0), "b": torch.ones(30, 30)}


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.pth", in_zip(TENSORS)), ("cut_old.pth", in_old_format(TENSORS)), ("cut.safetensors", save(TENSORS))],
    ids=["zip", "old", "safetensors"],
)
def test_a_file_that_was_cut_off(name, content, keep, refusal, folder):
    (folder / name).write_bytes(content[: int(len(content) * keep)])
    message = refusal(folder / name)
    assert "damaged" in message
    assert "run code" not in message


@pytest.mark.parametrize(
    "content",
    [
        b"these are the weights of my model\n" * 20,
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 22\n",
        bytes(5000),
        np.random.default_rng(0).bytes(5000),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["text", "html", "json_index", "git_lfs_pointer", "zeros", "random", "png"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_kind(content, suffix, refusal, folder):
    path = folder / f"weights{suffix}"
    path.write_bytes(content)
    message = refusal(path)
    assert "damaged or no" in message
    assert "run code" not in message


@pytest.mark.parametrize(
    "content", [in_zip(TENSORS), in_old_format(TENSORS), save(TENSORS)], ids=["zip", "old", "safe"]
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_bytes_are_read_as_weights_or_refused_but_never_crash(content, folder):
    suffix = ".safetensors" if content == save(TENSORS) else ".pth"
    rng = np.random.default_rng(0)
    refused = 0
    for turn in range(150):
        damaged = bytearray(content)
        for position in rng.integers(0, 600, 3):  # names, types and shapes lie in front
            damaged[position] = rng.integers(256)
        path = folder / f"{turn}{suffix}"
        path.write_bytes(damaged)
        try:
            read_state_dict(path)
        except CheckpointError:
            refused += 1
    assert refused > 50


def test_a_zip_file_of_something_else(refusal, folder):
    with zipfile.ZipFile(folder / "photos.pth", "w") as archive:
        archive.writestr("dog.jpg", bytes(100))
    assert "damaged or no PyTorch checkpoint" in refusal(folder / "photos.pth")


@pytest.mark.parametrize(
    "content",
    [[TENSORS, TENSORS], TENSORS["a"], {}, None, {"epoch": 3, "lr": 0.1}, {"state_dict": {}}, {"model": [TENSORS]}],
    ids=["list_of_shards", "tensor", "nothing_in_it", "none", "numbers", "empty_state_dict", "list_in_model"],
)
def test_a_checkpoint_without_a_state_dict(content, refusal, saved):
    assert "holds no state dict" in refusal(saved(content))


# Files that would run code.


class Attack:
    """What an attacker puts into a file: reading it with plain pickle makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("dump", [in_zip, in_old_format, pickle.dumps], ids=["zip", "old", "plain_pickle"])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"model": TENSORS, "args": x}], ids=["bare", "beside_weights"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # what counts here is that nothing runs
def test_code_in_a_checkpoint_does_not_run(dump, wrap, refusal, folder):
    marker = folder / "executed"
    (folder / "evil.pth").write_bytes(dump(wrap(Attack(marker))))
    refusal(folder / "evil.pth")
    assert not marker.exists()

    with contextlib.suppress(Exception):  # a plain pickle is unpacked first, and then found to be no checkpoint
        torch.load(folder / "evil.pth", weights_only=False)
    assert marker.exists()  # the file is as dangerous as it was meant to be


@pytest.mark.parametrize("dump", [in_zip, in_old_format], ids=["zip", "old"])
def test_what_would_run_code_is_called_so_and_the_remedy_is_named(dump, refusal, folder):
    (folder / "evil.pth").write_bytes(dump({"model": Attack(folder / "executed")}))
    assert "would run code" in (message := refusal(folder / "evil.pth"))
    assert "torch.save(model.state_dict()" in message


@pytest.mark.parametrize("dump", [in_zip, in_old_format], ids=["zip", "old"])
def test_a_whole_pickled_model(dump, refusal, folder, pytorch):
    (folder / "model.pth").write_bytes(dump(pytorch.tiny_model()))
    assert "torch.save(model.state_dict()" in refusal(folder / "model.pth")


def test_a_plain_pickle_is_refused_without_a_warning_beside_the_error(refusal, folder):
    (folder / "plain.pth").write_bytes(pickle.dumps({"weights": np.zeros(3)}))
    assert "torch.save(model.state_dict()" in refusal(folder / "plain.pth")


# State dicts that do not fit.


def test_missing_names_are_listed(tiny_state, refusal, saved):
    del tiny_state[HIDDEN], tiny_state["encoder.ln.bias"]
    message = refusal(saved(tiny_state))
    assert "2 missing" in message
    assert HIDDEN in message
    assert "encoder.ln.bias" in message


@pytest.mark.parametrize("name", ["heads.pre_logits.weight", "extra", "encoder.layers.encoder_layer_1.gate"])
def test_names_that_are_not_understood_are_listed(name, tiny_state, refusal, saved):
    assert f"1 unexpected ({name})" in refusal(saved(tiny_state | {name: torch.ones(3)}))


def test_a_long_list_of_names_is_cut(tiny_state, refusal, saved):
    extra = {f"extra_{i}": torch.ones(1) for i in range(40)}
    assert "40 unexpected (extra_0, extra_1, extra_2 and 37 more)" in refusal(saved(tiny_state | extra))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (HIDDEN, (256, 64)),
        ("class_token", (1, 2, 128)),
        ("encoder.pos_embedding", (2, 17, 128)),
        ("encoder.pos_embedding", (1, 17, 64)),
        ("heads.head.bias", (8,)),
        ("conv_proj.weight", (128, 1, 8, 8)),  # grey pictures
        ("conv_proj.weight", (128, 3, 8, 4)),
    ],
)
def test_another_shape_is_named_with_the_one_that_belongs_there(name, shape, tiny_state, refusal, saved):
    belongs = tuple(tiny_state[name].shape)
    tiny_state[name] = torch.zeros(shape)
    assert f"{name} is {shape} where {belongs} belongs" in refusal(saved(tiny_state))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv_proj.weight", (128, 192)),  # a linear patch embedding
        ("conv_proj.weight", (128, 3, 0, 0)),
        ("conv_proj.weight", (0, 3, 8, 8)),
        ("encoder.pos_embedding", (128,)),
        ("encoder.pos_embedding", (17, 128)),
        ("encoder.pos_embedding", (1, 0, 128)),
        ("encoder.pos_embedding", (1, 1, 128)),
        ("encoder.pos_embedding", (1, 16, 128)),  # square, but without a class token
        ("encoder.pos_embedding", (1, 13, 128)),  # 3 x 4 patches
        ("heads.head.weight", ()),
        ("heads.head.weight", (0, 128)),
        ("encoder.layers.encoder_layer_0.mlp.0.weight", ()),
        ("encoder.layers.encoder_layer_0.mlp.0.weight", (0, 128)),
    ],
)
@pytest.mark.parametrize("model", [None, "vit_b_16"], ids=["by_itself", "for_a_name"])
def test_shapes_that_no_vision_transformer_has_are_refused(name, shape, model, tiny_state, refusal, saved):
    tiny_state[name] = torch.zeros(shape)
    refusal(saved(tiny_state), model=model)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_layer_that_is_missing(layer, tiny_state, refusal, saved):
    left = {name: t for name, t in tiny_state.items() if f"encoder_layer_{layer}." not in name}
    left["encoder.layers.encoder_layer_2.ln_1.weight"] = torch.ones(128)
    assert "encoder layers" in refusal(saved(left))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name",
    [
        "class_token",
        "conv_proj.weight",
        "encoder.pos_embedding",
        "encoder.layers.encoder_layer_1.self_attention.in_proj_bias",
        "encoder.layers.encoder_layer_0.ln_2.weight",
        "heads.head.bias",
    ],
)
def test_a_weight_that_is_no_number(name, value, tiny_state, refusal, folder):
    tiny_state[name].view(-1)[-1] = value
    save_file(tiny_state, folder / "diverged.safetensors")
    assert f"{name} holds NaN or infinite" in refusal(folder / "diverged.safetensors")


# Weights of other models.


def test_a_resnet(refusal, saved):
    assert "no torchvision Vision Transformer" in refusal(saved(resnet18().state_dict()))


def test_a_vision_transformer_with_a_convolutional_stem(refusal, saved, pytorch):
    stem = [ConvStemConfig(out_channels=8, kernel_size=3, stride=8)]
    assert "it has no conv_proj.weight" in refusal(saved(pytorch.tiny_model(conv_stem_configs=stem).state_dict()))


def test_a_checkpoint_without_a_head(tiny_state, refusal, saved):
    headless = {name: tensor for name, tensor in tiny_state.items() if not name.startswith("heads")}
    assert "it has no heads.head.weight" in refusal(saved(headless))


TIMM = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.0.attn.qkv.weight")
HUGGING_FACE = (
    "vit.embeddings.cls_token",
    "vit.embeddings.patch_embeddings.projection.weight",
    "vit.encoder.layer.0.attention.attention.query.weight",
    "classifier.weight",
)


@pytest.mark.parametrize(
    ("names", "family"), [(TIMM, "timm's names"), (HUGGING_FACE, "Hugging Face's names")], ids=["timm", "hugging_face"]
)
def test_another_librarys_names_are_recognised_where_torchvisions_belong(names, family, refusal, saved):
    assert family in refusal(saved({name: torch.zeros(2, 2) for name in names}), model="vit_b_16")


def test_hugging_faces_names_need_their_configuration(refusal, saved):
    message = refusal(saved({name: torch.zeros(2, 2) for name in HUGGING_FACE}))
    assert message.endswith("has Hugging Face's names, which need their config.json; give the folder with both")


def test_timms_names_are_read_as_timms(refusal, saved):
    """These are not refused for their names: test_timm.py exports such files."""
    message = refusal(saved({name: torch.zeros(2, 2) for name in TIMM}))
    assert "patch_embed.proj.weight has shape (2, 2), where 4 axes belong" in message
    assert "timm" in message
