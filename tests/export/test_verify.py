"""Verification: a graph that answers otherwise than PyTorch is refused, and no file is left of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import vit_export.write.blocks
import vit_runtime as vit
from vit_export.errors import VerificationError
from vit_export.progress import Silent
from vit_export.read.prepare import read_and_prepare
from vit_export.request import ExportRequest
from vit_export.verify import comparison, tolerances
from vit_export.verify.torchvision_vit import TorchvisionViT, torchvision_model
from vit_export.write.builder import GraphBuilder
from vit_runtime.artifact import read_artifact
from vit_runtime.pictures.preprocess import RESAMPLING
from vit_runtime.selftest import waves

LAYER = "encoder.layers.encoder_layer_1"


def changed_node(op, **attributes):
    """A mutation that gives other attributes to all nodes of one operator."""

    def mutate(monkeypatch):
        original = GraphBuilder.node

        def node(self, its_op, inputs, name, **its_own):
            return original(self, its_op, inputs, name, **(its_own | attributes if its_op == op else its_own))

        monkeypatch.setattr(GraphBuilder, "node", node)

    return mutate


def changed_weight(name, change):
    """A mutation that changes the values of one weight on their way into the file."""

    def mutate(monkeypatch):
        original = GraphBuilder.weight

        def weight(self, its_name, shape, make, dtype=np.float32):
            if its_name != name:
                return original(self, its_name, shape, make, dtype)
            return original(self, its_name, shape, lambda: np.ascontiguousarray(change(make()), dtype), dtype)

        monkeypatch.setattr(GraphBuilder, "weight", weight)

    return mutate


def changed_name(name, value):
    return lambda monkeypatch: monkeypatch.setattr(vit_export.write.blocks, name, value)


def skipped_residual(monkeypatch):
    original = GraphBuilder.node

    def node(self, op, inputs, name, **attributes):
        if name == "attention_residual":
            return original(self, "Identity", inputs[1:], name)
        return original(self, op, inputs, name, **attributes)

    monkeypatch.setattr(GraphBuilder, "node", node)


def one_value_off(array):
    array = array.copy()
    array.flat[array.size // 2] += 0.05
    return array


MUTATIONS = {
    "GELU by tanh": changed_node("Gelu", approximate="tanh"),
    "LayerNorm with another epsilon": changed_node("LayerNormalization", epsilon=1e-5),
    "softmax over the queries": changed_node("Softmax", axis=-2),
    "another token as class token": changed_weight("encoder.pos_embedding", lambda a: a[[1, 0, *range(2, 17)]]),
    "positions in columns": changed_weight(
        "encoder.pos_embedding",
        lambda a: np.concatenate([a[:1], a[1:].reshape(4, 4, -1).swapaxes(0, 1).reshape(16, -1)]),
    ),
    "patches in columns": changed_weight(
        "conv_proj.weight", lambda a: a.reshape(8, 8, 3, 128).swapaxes(0, 1).reshape(192, 128)
    ),
    "query and key swapped": changed_name("_PACKED", ("key", "query", "value")),
    "key and value swapped": changed_name("_PACKED", ("query", "value", "key")),
    "scores without their scale": changed_weight(f"{LAYER}.self_attention.in_proj.query.weight", lambda a: a * 8),
    "query without its bias": changed_weight(f"{LAYER}.self_attention.in_proj.query.bias", np.zeros_like),
    "output projection transposed": changed_weight(f"{LAYER}.self_attention.out_proj.weight", np.transpose),
    "colours in the order blue, green, red": changed_weight(
        "conv_proj.weight", lambda a: a.reshape(64, 3, 128)[:, ::-1].reshape(192, 128)
    ),
    "pixels without their mean": changed_weight("conv_proj.bias", np.zeros_like),
    "pixels of 0 to 256": changed_weight("conv_proj.weight", lambda a: a * 255 / 256),
    "no residual": skipped_residual,
    "one wrong value": changed_weight(f"{LAYER}.mlp.0.weight", one_value_off),
    "head in half precision": changed_weight("heads.head.weight", lambda a: a.astype(np.float16)),
    "not a number": changed_weight("heads.head.bias", lambda a: a * np.nan),
    "infinite": changed_weight("heads.head.bias", lambda a: a + np.inf),
}


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_graph_with_an_error_is_refused_and_not_written(
    mutate, tiny_state, export_state, monkeypatch, folder, files_in
):
    mutate(monkeypatch)
    with pytest.raises(VerificationError, match=r"differs from PyTorch: .*nothing was written"):
        export_state(tiny_state)
    assert files_in(folder) == ["weights.safetensors"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_other_pixels_than_torchvisions_are_refused(precision, tiny_state, export_state, monkeypatch):
    """In int8 the answers themselves are still near enough."""
    monkeypatch.setitem(RESAMPLING, "bilinear", Image.Resampling.HAMMING)
    # The fourth is the self-test's picture, which needs no resampling.
    with pytest.raises(VerificationError, match="preparation of 3 of 4 pictures"):
        export_state(tiny_state, precision=precision)


def test_the_command_line_exits_with_3(vit_export_cli, tiny_checkpoint, monkeypatch, folder, files_in):
    MUTATIONS["query and key swapped"](monkeypatch)
    result = vit_export_cli(tiny_checkpoint, "-o", folder)
    assert result.exit_code == 3
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert result.stderr.endswith(errors[0] + "\n")
    assert "Traceback" not in result.stderr
    assert files_in(folder) == []


# What is recorded.


def test_the_record_says_what_was_measured(tiny_artifact):
    record = read_artifact(tiny_artifact).verification
    assert (record.pictures, record.same_top1, record.same_pixels) == (4, 4, 4)
    assert record.remark == ""
    assert [check.output for check in record.outputs] == ["logits", "embedding"]
    for check in record.outputs:
        assert check.min_cosine == pytest.approx(1)
        assert check.cosine_limit is None
        assert 0 <= check.max_difference < check.tolerance == 1e-4
    assert torch.__version__ in record.reference
    assert "onnxruntime" in record.runtime
    assert "CPUExecutionProvider" in record.runtime


def test_the_self_tests_answers_are_pytorchs(tiny_artifact, tiny_state, pytorch):
    stored = read_artifact(tiny_artifact).self_test
    answers = pytorch.run(pytorch.tiny(tiny_state), pytorch.normalise(waves((32, 32))[None]))
    assert [answer.output for answer in stored.outputs] == ["logits", "embedding"]
    for answer, values in zip(stored.outputs, answers, strict=True):
        assert np.array(answer.values, np.float32) == pytest.approx(values[0], abs=2e-6)
        assert answer.tolerance == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("values", "limit"),
    [([0.0], 1e-4), ([9.99, -3.0], 1e-4), ([-10.0], 1e-4), ([1.0, -30.0], 3e-4), ([250.0], 2.5e-3)],
)
@pytest.mark.parametrize("output", ["logits", "embedding"])
def test_the_limit_grows_with_values_above_its_unit(output, values, limit):
    tolerance = tolerances.TOLERANCES["fp32"][output]
    assert tolerance.limit(np.array(values, np.float32)) == pytest.approx(limit)


def test_the_limit_of_attention_maps_is_for_shares_of_one():
    tolerance = tolerances.TOLERANCES["fp32"]["rollout"]
    assert tolerance.limit(np.array([[0.25, 1.0], [0.0, 0.5]], np.float32)) == pytest.approx(1e-6)


def test_large_logits_are_measured_in_proportion(tiny_state, export_state):
    for name in ("heads.head.weight", "heads.head.bias"):
        tiny_state[name] *= 1000
    logits, embedding = export_state(tiny_state).artifact.verification.outputs
    assert (logits.output, embedding.output) == ("logits", "embedding")
    assert logits.tolerance > 1e-3
    assert embedding.tolerance == 1e-4


@pytest.fixture
def question(tiny_checkpoint, tiny_artifact):
    """The tiny artifact, and PyTorch's answers to the verification's pictures."""
    loaded = read_and_prepare(ExportRequest(model=str(tiny_checkpoint)), Silent())
    expected = comparison.ask_reference(
        TorchvisionViT(torchvision_model(loaded.architecture, loaded.state)), loaded.architecture, loaded.preprocessing
    )
    return vit.load(tiny_artifact), expected


def test_the_reference_itself_passes(question):
    model, expected = question
    result, self_test = comparison.verify(model, expected)
    assert result.same_top1 == 4
    assert (result, self_test) == (model.artifact.verification, model.artifact.self_test)


@pytest.mark.parametrize("picture", [0, 3])
@pytest.mark.parametrize("output", ["logits", "embedding"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_one_wrong_number_in_any_answer_is_noticed(picture, output, value, question):
    model, expected = question
    values = expected.answers[output].copy()
    values[picture, 2] = value
    with pytest.raises(VerificationError):
        comparison.verify(model, replace(expected, answers=expected.answers | {output: values}))


def test_a_model_that_overflows_is_refused(tiny_state, folder, files_in, vit_export_cli):
    """Finite weights whose product is not: PyTorch's own answers are no numbers, and nothing can be compared."""
    for name in ("encoder.ln.weight", "heads.head.weight"):
        tiny_state[name] *= 1e22
    save_file(tiny_state, folder / "huge.safetensors")
    result = vit_export_cli(folder / "huge.safetensors", "-o", folder)
    assert result.exit_code in (1, 3)
    assert "This is a bug" not in result.stderr
    assert "Warning" not in result.stderr
    assert files_in(folder) == ["huge.safetensors"]
