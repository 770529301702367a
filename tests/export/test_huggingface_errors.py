"""Folders of Hugging Face's that cannot be exported: one line that names cause and remedy, and no file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.progress import Silent
from vit_runtime.artifact import read_artifact
from vit_runtime.errors import ArtifactError

from .hf_models import CONFIG, PROCESSOR, handmade_weights, refuse_network


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    refuse_network(monkeypatch)


@pytest.fixture
def model(folder):
    """`model(config, processor, state)`: a folder with a model; None leaves a file out."""

    def write(config=CONFIG, processor=PROCESSOR, state=None) -> Path:
        path = folder / "model"
        path.mkdir()
        for name, document in (("config.json", config), ("preprocessor_config.json", processor)):
            if document is not None:
                (path / name).write_text(json.dumps(document))
        save_file(handmade_weights() if state is None else state, path / "model.safetensors")
        return path

    return write


@pytest.fixture
def without_head(model):
    """A folder with a model that gives embeddings alone."""
    state = {name: tensor for name, tensor in handmade_weights().items() if "classifier" not in name}
    return model(CONFIG | {"architectures": ["ViTModel"]}, state=state)


@pytest.fixture
def refusal(folder, refusal_of):
    """`refusal(path)`: what is said of a folder that cannot be exported."""
    output = folder / "out" / "model.onnx"
    return lambda path: refusal_of(ExportRequest(model=str(path), output=output), (str(path),))


@pytest.fixture
def refused(folder, files_in, vit_export_cli, monkeypatch):
    """`refused(exit_code, *args)`: the one line with which the command line refuses."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")

    def run(exit_code: int, *args: object) -> str:
        before = files_in(folder)
        result = vit_export_cli(*args, "--output", folder / "out" / "model.onnx")
        assert result.exit_code == exit_code, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert "bug" not in result.stderr
        lines = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", result.stderr).splitlines()
        (line,) = [line for line in lines if "error" in line.lower()]
        assert line == lines[-1]
        assert line.startswith("error: ")
        assert files_in(folder) == before
        return line

    return run


class Notes(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_the_model_of_these_tests_is_whole(model, folder):
    """Guards every test below: what they refuse they refuse for the change alone."""
    notes = Notes()
    exported = export(ExportRequest(model=str(model()), output=folder / "out.onnx"), notes)
    assert exported.artifact.labels == tuple(CONFIG["id2label"].values())
    assert notes.texts == []


# Configurations.


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_type": "swin"}, "'swin' is not supported; supported are vit, deit, dinov2, .*dinov3_vit, clip, "),
        ({"model_type": None}, "model type 'None' is not supported"),
        ({"model_type": ["vit"]}, "is not supported"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "architecture ViTForMaskedImageModeling is not supported; "),
        ({"architectures": []}, "architecture none is not supported; supported are ViTForImageClassification, "),
        ({"architectures": ["ViTModel", "ViTForImageClassification"]}, "ViTModel, ViTForImageClassification is not"),
        ({"hidden_act": "relu"}, "hidden_act relu is not supported; supported are gelu, "),
        ({"num_channels": 1}, "num_channels 1 is not supported; only 3 are"),
        ({"image_size": [32, 48]}, r"image_size \[32, 48\] is not supported; only whole numbers, and squares, are"),
        ({"patch_size": 8.5}, "patch_size 8.5 is not supported"),
        ({"image_size": 7}, "image_size 7 is less than patch_size 8"),
        ({"num_attention_heads": 3}, "width 32 is no multiple of heads 3"),
        ({"num_hidden_layers": 0}, "num_hidden_layers 0 is not supported"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label does not number its 2 classes from 0"),
        ({"id2label": ["a", "b"]}, "id2label is no object"),
    ],
)
def test_a_configuration_that_is_not_supported(change, problem, model, refusal):
    path = model(CONFIG | change)
    message = refusal(path)
    assert message.startswith(f"{path / 'config.json'}: ")
    assert re.search(problem, message), message


@pytest.mark.parametrize(
    "change",
    [
        {"layer_norm_eps": None},
        {"hidden_act": ["gelu"]},
        {"id2label": None, "num_labels": "7"},
        {"architectures": 1},
        {"architectures": [["ViTModel"]]},
    ],
)
def test_values_of_a_type_that_transformers_never_writes(change, model, refusal):
    path = model(CONFIG | change)
    message = refusal(path)
    assert message.startswith(f"{path / 'config.json'}: ")
    assert list(change)[-1].removesuffix("s") in message, message


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"hidden_size": 64}, ["37 of another shape", "position_embeddings is (1, 17, 32) where (1, 17, 64) belongs"]),
        ({"intermediate_size": 96}, ["6 of another shape", "intermediate.dense.weight is (64, 32) where (96, 32)"]),
        ({"num_hidden_layers": 3}, ["16 missing (", "encoder.layer.2.", " and 13 more"]),
        ({"num_hidden_layers": 1}, ["16 unexpected (", "encoder.layer.1.", " and 13 more"]),
        ({"image_size": 64}, ["position_embeddings is (1, 17, 32) where (1, 65, 32) belongs"]),
        ({"patch_size": 16}, ["projection.weight is (32, 3, 8, 8) where (32, 3, 16, 16) belongs"]),
        ({"id2label": {"0": "a", "1": "b"}}, ["classifier.weight is (7, 32) where (2, 32) belongs"]),
        ({"id2label": None}, ["classifier.weight is (7, 32) where (2, 32) belongs"]),  # transformers' default
        ({"qkv_bias": False}, ["6 unexpected (", "attention.query.bias"]),  # transformers would leave them out
        ({"architectures": ["ViTModel"]}, ["2 unexpected (classifier."]),
        ({"model_type": "deit", "architectures": ["DeiTForImageClassification"]}, ["39 missing (embeddings."]),
        ({"model_type": "dinov2", "architectures": ["Dinov2ForImageClassification"]}, ["42 missing (embeddings."]),
    ],
)
def test_a_configuration_that_contradicts_the_weights(change, parts, model, refusal):
    path = model(CONFIG | change, PROCESSOR | {"size": change.get("image_size", 32)})
    message = refusal(path)
    assert message.startswith(f"{path}: does not fit the model that its config.json describes: ")
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("content", ["", "{", "[]", '"vit"', "null", "\ufeff{}", '{"model_type": "vit"'])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_broken_json_file(name, content, model, refusal):
    path = model()
    (path / name).write_text(content, encoding="utf-8")
    message = refusal(path)
    assert message.startswith(f"{path / name}: ")
    assert re.search("no JSON file|holds no JSON object", message), message


@pytest.mark.parametrize(
    ("files", "given", "problem"),
    [
        ({"config": None}, "", "model: has no config.json; give the folder that holds it, or the file of weights"),
        ({"config": {"format": "ours"}}, "", r"is neither Hugging Face's \(model_type\) nor timm's \(architecture\)"),
        ({"config": CONFIG | {"model_type": "swin"}}, "", "config.json: model type 'swin' is not supported; supp"),
        ({"processor": {"do_resize": False}}, "", "preprocessor_config.json: ViTImageProcessor: do_resize is off"),
        ({}, "model.safetensors", "has Hugging Face's names, which need their config.json; give the folder with both"),
    ],
)
def test_the_command_line_refuses_in_one_line(files, given, problem, model, refused):
    assert re.search(problem, refused(1, model(**files) / given))


# Preparation.


def test_configuration_and_processor_that_disagree_about_the_size(model, refused, vit_export_cli, folder):
    path = model(processor=PROCESSOR | {"size": 48})
    problem = "is for pictures of 32, and preprocessor_config.json prepares 48"
    assert f"{problem}; say which with --image-size 32 or --image-size 48" in refused(1, path)
    for size in (32, 48):
        output = folder / f"{size}.onnx"
        assert vit_export_cli(path, "--image-size", size, "-o", output).exit_code == 0
        assert read_artifact(output).preprocessing.crop_hw == (size, size)
        assert read_artifact(output).preprocessing.resize_hw == (size, size)


def test_an_image_size_that_patches_do_not_fill(model, refused):
    line = refused(2, model(), "--image-size", 36)
    assert "--image-size: 36 is no multiple of the patch size 8; take 32 or 40" in line


def test_without_a_processor_it_is_said_what_is_used(model, folder):
    notes = Notes()
    path = model(processor=None)
    exported = export(ExportRequest(model=str(path), output=folder / "out.onnx"), notes)
    used = exported.artifact.preprocessing
    assert (used.resize_hw, used.interpolation, used.mean, used.std) == ((32, 32), "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert notes.texts == [f"there is no preprocessor_config.json; using {used}"]


# Weights.


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("tf_model.h5", r"holds weights for other programs only \(tf_model.h5\); convert them to model.safetensors"),
        ("flax_model.msgpack", r"holds weights for other programs only \(flax_model.msgpack\)"),
        ("weights.safetensors", "holds no weights: neither model.safetensors nor pytorch_model.bin; put one of them"),
    ],
)
def test_no_weights_that_are_known(name, problem, model, refused):
    path = model()
    (path / "model.safetensors").rename(path / name)
    assert re.search(problem, refused(1, path))


def test_a_missing_shard(model, refused):
    path = model()
    (path / "model.safetensors").unlink()
    state = handmade_weights()
    placed = {name: f"model-0000{1 + (name > 'vit.encoder')}-of-00002.safetensors" for name in state}
    for shard in set(placed.values()):
        save_file({name: state[name] for name in state if placed[name] == shard}, path / shard)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    export(ExportRequest(model=str(path), output=path.parent / "before.onnx"))
    (path / "model-00002-of-00002.safetensors").unlink()
    line = refused(1, path)
    assert "model-00002-of-00002.safetensors is missing, which model.safetensors.index.json lists; fetch it" in line


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": {"a": 1}}])
def test_an_index_that_lists_no_shards(index, model, refusal):
    path = model()
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refusal(path).startswith(f"{path}/model.safetensors.index.json: lists no shards")


def test_an_index_cannot_name_files_elsewhere(model, refusal):
    path = model()
    (path / "model.safetensors").rename(path.parent / "elsewhere.safetensors")
    placed = dict.fromkeys(handmade_weights(), "../elsewhere.safetensors")
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    assert "elsewhere.safetensors is missing" in refusal(path)


class Trap:
    """An object whose unpickling would run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_needs_code_is_not_run(model, refused, folder):
    path = model()
    (path / "model.safetensors").unlink()
    torch.save(handmade_weights() | {"more": Trap(folder / "code_has_run")}, path / "pytorch_model.bin")
    line = refused(1, path)
    assert re.search(r"pytorch_model.bin: holds more than weights and would run code when read \(\w+\.mkdir\)", line)
    assert not (folder / "code_has_run").exists()


@pytest.mark.parametrize("keep", [0, 20, 5000])
def test_weights_that_were_cut_off(keep, model, refusal):
    path = model() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(path.parent)
    assert message.startswith(f"{path}: ")
    assert re.search("empty file|damaged", message), message


# Options that do not go with a folder.


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--heads", "2"], "error: --heads: config.json says how many there are; leave it out"),
        (["--weights", "random"], "error: --weights: does not go with .*model, which brings its weights; leave it out"),
        (["--checkpoint", "w.pth"], "error: --checkpoint: does not go with .*model, which brings its weights"),
    ],
)
def test_an_option_that_does_not_go_with_a_folder(options, problem, model, refused):
    assert re.search(problem, refused(2, model(), *options))


def test_max_drop_for_a_model_without_a_head(without_head, refused, calibration_folder):
    options = ("--precision", "int8", "--calibrate", calibration_folder, "--max-drop", "1")
    line = refused(2, without_head, *options)
    assert "--max-drop: model has no classes, so no answers that change; leave it out" in line


def test_a_model_without_a_head_does_not_classify(without_head, folder, vit_run):
    output = export(ExportRequest(model=str(without_head), output=folder / "out.onnx")).path
    picture = np.zeros((40, 50, 3), np.uint8)
    runtime = vit.load(output)
    assert runtime.artifact.outputs == ("embedding",)
    assert runtime.embed(picture).shape == (1, 32)
    message = "^model: has no classification head, so it cannot classify; take its embeddings$"
    for ask in (runtime.classify, runtime.logits):
        with pytest.raises(ArtifactError, match=message):
            ask(picture)
    result = vit_run("classify", output, folder / "no_such.jpg")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: model: has no classification head")


# Names of classes.


def test_placeholders_are_no_names(model, folder, vit_export_cli):
    path = model(CONFIG | {"id2label": {str(index): f"LABEL_{index}" for index in range(7)}})
    output = folder / "out.onnx"
    result = vit_export_cli(path, "-o", output)
    assert result.exit_code == 0, result.output
    assert f"{path} names no classes; give --labels, or they go by number" in result.stderr
    assert read_artifact(output).labels is None
    assert vit.load(output).classify(np.zeros((40, 50, 3), np.uint8), top_k=1)[0].label.startswith("class ")


def test_placeholders_give_way_to_labels(model, folder):
    path = model(CONFIG | {"id2label": {str(index): f"LABEL_{index}" for index in range(7)}})
    (folder / "labels.txt").write_text("\n".join("abcdefg"))
    request = ExportRequest(model=str(path), labels=str(folder / "labels.txt"), output=folder / "out.onnx")
    notes = Notes()
    assert export(request, notes).artifact.labels == tuple("abcdefg")
    assert notes.texts == []
