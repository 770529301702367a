"""Which layers of an int8 export lose most and which stay float: those asked for, and as many as a limit takes."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.artifact import read_artifact

LAYERS = (
    "patch_embed/projection",
    *(
        f"encoder/{block}/{layer}"
        for block in range(3)
        for layer in (
            *("attention/query", "attention/key", "attention/value", "attention/output"),
            *("mlp/hidden", "mlp/output"),
        )
    ),
)


def test_the_artifact_says_how_it_was_quantized(int8_artifacts, calibration_folder):
    static, dynamic = (read_artifact(int8_artifacts[kind]).quantization for kind in ("static", "dynamic"))
    assert (static.scheme, dynamic.scheme) == ("static", "dynamic")
    assert (static.calibration.pictures, static.calibration.skipped) == (len(list(calibration_folder.iterdir())), 0)
    assert (dynamic.calibration, dynamic.agreement, dynamic.sensitivity) == (None, None, ())
    assert {loss.layer for loss in static.sensitivity} == set(LAYERS)
    losses = [loss.sqnr_db for loss in static.sensitivity]
    assert losses == sorted(losses)
    assert 20 < losses[0] < losses[-1]
    assert (static.kept_float, dynamic.kept_float) == ((), ())


# Layers that stay float.


def float_layers(path) -> set[str]:
    """Read off the graph: MatMuls with a stored factor, but the head."""
    model = onnx.load(path)
    stored = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in stored]
    return {node.name.removesuffix("/matmul") for node in products} - {"logits"}


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (("patch_embed/projection",), {"patch_embed/projection"}),
        (("encoder/1/mlp/hidden", "encoder/0/attention/key"), {"encoder/1/mlp/hidden", "encoder/0/attention/key"}),
        (("encoder/2/*",), {layer for layer in LAYERS if layer.startswith("encoder/2/")}),
        (("*/mlp/output",), {f"encoder/{block}/mlp/output" for block in range(3)}),
        (("*value", "*/0/attention/*"), {layer for layer in LAYERS if "value" in layer or "/0/attention" in layer}),
    ],
)
def test_named_layers_stay_float(wanted, kept, scheme, export_int8):
    options = {} if scheme == "static" else {"calibrate": None}
    exported = export_int8(keep_float=wanted, **options)
    assert float_layers(exported.path) == kept
    assert set(exported.artifact.quantization.kept_float) == kept
    assert list(exported.artifact.quantization.kept_float) == [layer for layer in LAYERS if layer in kept]


@pytest.mark.parametrize("count", [1, 4, len(LAYERS), 1000])
def test_a_number_keeps_the_layers_that_lose_most(count, int8_artifacts, export_int8):
    sensitivity = read_artifact(int8_artifacts["static"]).quantization.sensitivity
    worst = {loss.layer for loss in sensitivity[:count]}
    exported = export_int8(keep_float=count)
    assert float_layers(exported.path) == worst
    assert set(exported.artifact.quantization.kept_float) == worst


@pytest.mark.parametrize("target", ["cpu", "portable"])
def test_with_all_layers_float_the_answers_are_float32s(target, export_int8, reference, random_pixels):
    """And so the equalised model is the same model: only rounding to int8 makes a difference."""
    exported = export_int8(keep_float=("*",), target=target)
    assert float_layers(exported.path) == set(LAYERS)
    pixels = random_pixels(16, 32)
    for ours, expected in zip(vit.load(exported.path).run(pixels), reference(pixels), strict=True):
        assert np.abs(ours - expected).max() < 1e-4


def test_more_layers_in_float_come_closer(export_int8, reference, pictures):
    errors = []
    for count in (0, 10, 19):
        logits, _ = vit.load(export_int8(keep_float=count).path).run(pictures)
        errors.append(np.abs(logits - reference(pictures)[0]).mean())
    assert errors[0] > errors[1] > errors[2]


def test_the_command_line_takes_names_and_numbers(three_blocks, calibration_folder, folder, vit_export_cli):
    words = [three_blocks, "--precision", "int8", "--calibrate", calibration_folder, "-o", folder, "--force"]
    for text, count in (("2", 2), (" encoder/0/mlp/*, encoder/1/mlp/output", 3), ("0", 0)):
        result = vit_export_cli(*words, "--keep-float", text)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"{folder / 'three.int8.onnx'}\n"
        assert len(float_layers(folder / "three.int8.onnx")) == count
    for part in ("calibrating on 12 pictures", "rounding 19 layers", "comparing with float32"):
        assert part in result.stderr


# A limit for changed answers.


def test_no_changed_answers_are_reached_by_keeping_layers_float(undecided, export_int8, calibration_folder, folder):
    free = export_int8(model=undecided, output=folder / "free.onnx")
    changed = 12 - free.artifact.quantization.agreement.same_top1
    assert changed > 0, "the model is too sure of its answers to test anything"

    held = export_int8(model=undecided, output=folder / "held.onnx", max_drop=0.0)
    record = held.artifact.quantization
    assert record.agreement.same_top1 == 12
    assert 0 < len(record.kept_float) <= len(LAYERS)
    assert float_layers(held.path) == set(record.kept_float)
    worst = [loss.layer for loss in record.sensitivity[: len(record.kept_float)]]
    assert set(worst) == set(record.kept_float)

    float32 = export(ExportRequest(model=undecided, output=folder / "float32.onnx")).path
    photos = sorted(calibration_folder.iterdir())
    answers = [vit.load(path).logits(photos, batch_size=1).argmax(1) for path in (held.path, float32)]
    np.testing.assert_array_equal(*answers)


def test_one_layer_fewer_would_change_an_answer(undecided, export_int8):
    """The fewest are kept that are found to be enough."""
    kept = export_int8(model=undecided, max_drop=0.0).artifact.quantization.kept_float
    fewer = export_int8(model=undecided, keep_float=len(kept) - 1).artifact.quantization.agreement
    assert fewer.same_top1 < 12


def test_a_limit_that_holds_already_keeps_nothing(export_int8, int8_artifacts):
    exported = export_int8(max_drop=99.9)
    assert exported.artifact.quantization.kept_float == ()
    assert exported.path.read_bytes() == int8_artifacts["static"].read_bytes()


def test_a_limit_counts_on_top_of_layers_that_were_asked_for(undecided, export_int8):
    exported = export_int8(model=undecided, max_drop=0.0, keep_float=("encoder/0/*",))
    record = exported.artifact.quantization
    assert {layer for layer in LAYERS if layer.startswith("encoder/0/")} <= set(record.kept_float)
    assert record.agreement.same_top1 == 12
    assert float_layers(exported.path) == set(record.kept_float)


def test_the_search_is_told_as_it_goes(undecided, calibration_folder, folder, vit_export_cli):
    words = ["--precision", "int8", "--calibrate", calibration_folder, "--max-drop", "0", "-o", folder]
    result = vit_export_cli(undecided, *words)
    assert result.exit_code == 0, result.stderr
    trials = re.findall(r"(\d+) layers in float: (\d+) of 12 answers change", result.stderr)
    assert trials[0][0] == "0"
    enough = min(int(layers) for layers, changed in trials if changed == "0")
    assert len(read_artifact(folder / "undecided.int8.onnx").quantization.kept_float) == enough
