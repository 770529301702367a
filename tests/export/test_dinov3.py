"""DINOv3 as Hugging Face has it: its preparation, its graph, and what is refused. Answers: `test_huggingface`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file

from vit_export import ExportRequest, export
from vit_export.errors import VerificationError
from vit_export.verify.library import RESIZED_FLOATS
from vit_runtime.artifact import Rollout
from vit_runtime.pictures.preprocess import load_pixels

from . import hf_models
from .against_library import OF_TRANSFORMERS, _no_network, exported_fixture, notes_fixture, reference  # noqa: F401 - fixtures
from .test_timm_encoders import ARITHMETIC

PAPER = Rollout(head_fusion="mean", discard_ratio=0.0)


@pytest.fixture
def model(folder) -> Path:
    """A folder with a small DINOv3."""
    return hf_models.save(hf_models.make("DINOv3"), folder / "model")


def changed(path: Path, file: str, **changes: Any) -> Path:
    document = json.loads((path / file).read_text()) | changes
    (path / file).write_text(json.dumps(document))
    return path


def test_the_tables_are_those_of_transformers(model, folder):
    """Bit by bit, for several grids: the same operations in the same order."""
    done = export(ExportRequest(model=str(model), output=folder / "out.onnx", image_size=56))
    tables = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(done.path).graph.initializer}
    theirs = hf.DINOv3ViTModel.from_pretrained(model).rope_embeddings(torch.zeros(1, 3, 56, 56))
    cos, sin = (table.numpy() for table in theirs)
    half = cos.shape[1] // 2
    np.testing.assert_array_equal(tables["encoder.rotary.cos"][5:, 0, 0], cos[:, :half])
    np.testing.assert_array_equal(tables["encoder.rotary.sin"][5:, 0, 1], sin[:, :half])
    # Class token and registers are not turned.
    assert (tables["encoder.rotary.cos"][:5] == 1).all()
    assert (tables["encoder.rotary.sin"][:5] == 0).all()


@pytest.mark.parametrize("options", [{}, {"precision": "fp16", "target": "portable"}], ids=["fp32", "fp16"])
def test_the_graph_computes_no_positions_and_takes_no_masks(options, model, folder):
    request = ExportRequest(model=str(model), output=folder / "out.onnx", rollout=PAPER, **options)
    graph = onnx.load(export(request).path).graph
    assert {node.op_type for node in graph.node} & ARITHMETIC == set()
    assert [value.name for value in graph.input] == ["pixels"]
    assert {node.domain for node in graph.node} == {""}


@pytest.mark.parametrize("target", ["openvino", "portable", "gpu"])
@pytest.mark.parametrize("case", ["DINOv3", "DINOv3 with gates"])
def test_other_targets(case, target, folder, exported, calibration_folder):
    path = hf_models.save(hf_models.make(case), folder / "model")
    options = {"precision": "fp16"} if target == "gpu" else {"precision": "int8", "calibrate": calibration_folder}
    done = exported(path, target=target, rollout=PAPER, **options)
    assert reference(done) == OF_TRANSFORMERS
    least = min(check.min_cosine for check in done.artifact.verification.outputs)
    assert least > (0.9999 if target == "gpu" else 0.99)


# Preparation: transformers has none that resizes bytes.


def test_the_difference_from_a_resize_of_floats_is_told(model, exported, notes):
    exported(model)
    (line,) = [line for line in notes.lines if "resizes this model's pictures as floats" in line]
    found = re.search(r"by up to (\d\.\d\d) of 255 steps \(limit 1\.1\)", line)
    assert found is not None, line
    assert 0.5 < float(found.group(1)) <= RESIZED_FLOATS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resample": 3}, r"prepares 3 of 3 pictures otherwise, by up to .* \(limit 1\.1\)"),
        ({"image_mean": [0.485, 0.456, 0.42]}, "prepares 3 of 3 pictures otherwise"),
        ({"size": {"height": 40, "width": 40}}, "pictures are prepared to 32x32, by transformers .* to 40x40"),
    ],
    ids=["filter", "mean", "size"],
)
def test_more_than_that_is_noticed(changes, message, model, exported):
    """transformers prefers a second file, which our reader does not read where there is the first."""
    known = json.loads((model / "preprocessor_config.json").read_text())
    (model / "processor_config.json").write_text(json.dumps({"image_processor": known | changes}))
    with pytest.raises(VerificationError, match=message):
        exported(model)


def test_real_photos_are_prepared_within_the_limit(data, model, exported):
    """Measured on 300 photos: 1.0005 steps of 255 at most, 0.27 on average."""
    preprocessing = exported(model, against=None).artifact.preprocessing
    processor = hf.DINOv3ViTImageProcessor(size={"height": 32, "width": 32}, do_normalize=False)
    for path in sorted((data / "photos").glob("*.JPEG"))[:20]:
        photo = Image.open(path).convert("RGB")
        ours = load_pixels(photo, preprocessing).transpose(2, 0, 1)
        theirs = 255 * processor(images=photo, return_tensors="pt")["pixel_values"][0].numpy()
        assert np.abs(ours - theirs).max() <= RESIZED_FLOATS


def test_without_a_processors_file_the_familys_preparation_is_assumed(model, exported):
    expected = exported(model).artifact.preprocessing
    (model / "preprocessor_config.json").unlink()
    artifact = exported(model, against=None).artifact
    assert artifact.preprocessing == expected
    assert [assumption.subject for assumption in artifact.assumptions] == ["preprocessing"]


# What is refused.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["DINOv3ViTBackbone"]}, "DINOv3ViTBackbone is not supported; supported are DINOv3ViTModel"),
        ({"model_type": "dinov3_convnext"}, "model type 'dinov3_convnext' is not supported"),
        ({"num_attention_heads": 32}, "heads of 2 are not supported; only multiples of 4 are"),
        ({"num_attention_heads": 3}, "heads of 21 are not supported"),
        ({"rope_theta": "100"}, "rope_theta 100 is not supported"),
        ({"rope_theta": 0}, "rope_theta 0 is not supported"),
        ({"rope_theta": float("nan")}, "rope_theta nan is not supported"),
        ({"hidden_act": "silu"}, "hidden_act silu is not supported; supported are gelu"),
        ({"hidden_act": "relu", "use_gated_mlp": True}, "hidden_act relu is not supported; supported are gelu.* silu"),
        ({"num_register_tokens": -1}, "num_register_tokens -1 is not supported"),
        ({"use_gated_mlp": True}, "3 missing .*mlp.gate_proj|missing .*gate_proj"),
        ({"num_register_tokens": 2}, r"register_tokens is \(1, 4, 64\) where \(1, 2, 64\) belongs"),
        ({"query_bias": False}, "3 unexpected .*q_proj.bias"),
        ({"key_bias": True}, "3 missing .*k_proj.bias"),
        ({"num_channels": 1}, "num_channels 1 is not supported; only 3 are"),
        ({"num_hidden_layers": 4}, "missing .*layer.3."),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_configuration_of_another_model(changes, message, model, refusal_of):
    request = ExportRequest(model=str(changed(model, "config.json", **changes)), output=model.parent / "out")
    assert re.search(message, refusal_of(request, (str(model),)))


def test_a_file_of_weights_by_itself_needs_its_configuration(model, folder, refusal_of):
    save_file(load_file(model / "model.safetensors"), folder / "alone.safetensors")
    request = ExportRequest(model=str(folder / "alone.safetensors"), output=folder / "out")
    message = refusal_of(request, (str(folder / "alone.safetensors"),))
    assert "has Hugging Face's names, which need their config.json" in message
