"""The self-test passes where the answers are PyTorch's, and fails where weights, pixels or numbers are others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.selftest import SelfTestResult, waves

AskPyTorch = Callable[[UInt8Array], tuple[FloatArray, FloatArray]]
Edit = Callable[..., Path]
Run = Callable[..., object]

WAVES_SHA256 = "d0e22433f8fc810af4761cc595fd8599bf01449af4e0cf3cc5cdbfc8725217f6"
"""Of the 150,528 bytes of waves((224, 224)): never to change, artifacts rely on it."""


def change_weights(by: float) -> Callable[[onnx.GraphProto], None]:
    """Scales the last attention's output projection. An offset would not show: the next LayerNorm removes it."""

    def run(graph: onnx.GraphProto) -> None:
        for weight in graph.initializer:
            if "encoder_layer_1" in weight.name and "out_proj" in weight.name:
                weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(by), weight.name))

    return run


def change_pixels_digest(document: dict[str, dict[str, str]]) -> None:
    document["self_test"]["pixels_sha256"] = "0" * 64


def outputs(result: SelfTestResult) -> list[str]:
    return [answer.output for answer in result.outputs]


def test_the_artifact_as_it_was_exported_passes(tiny: vit.ViT):
    result = vit.check(tiny)
    assert result.passed
    assert result.same_pixels
    assert outputs(result) == ["logits", "embedding"]
    for answer in result.outputs:
        assert 0 <= answer.difference < 1e-4


def test_the_stored_answers_are_pytorchs(tiny: vit.ViT, ask_pytorch: AskPyTorch):
    logits, embedding = ask_pytorch(waves((32, 32))[None])
    stored = {answer.output: np.array(answer.values, np.float32) for answer in tiny.artifact.self_test.outputs}
    assert list(stored) == ["logits", "embedding"]
    for values, expected in ((stored["logits"], logits[0]), (stored["embedding"], embedding[0])):
        # torch's products round otherwise where weights lie otherwise in memory: 2.4e-7 here, on values of about 1.
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("by", [1.01, np.nan, np.inf])
def test_changed_weights_fail(by: float, edit_artifact: Edit):
    result = vit.check(vit.load(edit_artifact(graph=change_weights(by)), threads=1))
    assert not result.passed
    assert result.same_pixels
    assert outputs(result) == ["logits", "embedding"]
    for answer in result.outputs:
        assert not answer.difference <= answer.tolerance


def test_pixels_alone_decide(tiny: vit.ViT):
    assert not replace(vit.check(tiny), same_pixels=False).passed


@pytest.mark.parametrize("difference", [0.1, np.nan])
@pytest.mark.parametrize("output", ["logits", "embedding"])
def test_each_output_alone_decides(output: str, difference: float, tiny: vit.ViT):
    result = vit.check(tiny)
    changed = [
        replace(answer, difference=difference) if answer.output == output else answer for answer in result.outputs
    ]
    assert changed != list(result.outputs)
    assert not replace(result, outputs=tuple(changed)).passed


def test_an_unchanged_copy_passes(edit_artifact: Edit):
    """Guards the test above: editing alone breaks nothing."""
    assert vit.check(vit.load(edit_artifact(graph=change_weights(1.0)), threads=1)).passed


def test_other_pixels_fail(edit_artifact: Edit):
    result = vit.check(vit.load(edit_artifact(document=change_pixels_digest), threads=1))
    assert not result.passed
    assert not result.same_pixels
    assert outputs(result) == ["logits", "embedding"]
    for answer in result.outputs:
        assert answer.difference <= answer.tolerance


def test_the_command_exits_with_3_and_shows_the_numbers(vit_run: Run, edit_artifact: Edit):
    result = vit_run("check", edit_artifact(graph=change_weights(1.01)))
    assert result.exit_code == 3
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["result"].startswith("FAIL")
    for name in ("logits", "embedding"):
        words = lines[name].replace(",", "").split()
        difference, limit = float(words[2]), float(words[4])
        assert difference > limit == 1e-3


def test_the_command_names_other_pixels(vit_run: Run, edit_artifact: Edit):
    result = vit_run("check", edit_artifact(document=change_pixels_digest))
    assert result.exit_code == 3
    assert "NOT the bytes of the export" in result.stdout
    assert "FAIL" in result.stdout


@pytest.mark.parametrize("by", [1.01, np.nan])
def test_a_failure_as_json_is_json(by: float, vit_run: Run, edit_artifact: Edit):
    """NaN is no JSON: jq, JavaScript and Go refuse the line that a broken model needs most."""
    result = vit_run("check", "--json", edit_artifact(graph=change_weights(by)))
    assert result.exit_code == 3

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(result.stdout, parse_constant=refuse)
    assert document["passed"] is False
    for answer in document["outputs"].values():
        assert (answer["difference"] is None) == np.isnan(by)


def test_waves_give_the_same_bytes_on_every_machine():
    picture = waves((224, 224))
    assert picture.shape == (224, 224, 3)
    assert picture.dtype == np.uint8
    assert hashlib.sha256(picture.tobytes()).hexdigest() == WAVES_SHA256


@pytest.mark.parametrize("variant", [0, 2])
def test_waves_follow_their_formula(variant: int):
    """Written out a second time, with Python's integers, pixel by pixel."""
    height, width = 7, 11
    expected = np.empty((height, width, 3), np.uint8)
    for row in range(height):
        for column in range(width):
            y, x = row * 1024 // height, column * 1024 // width
            slants = ((3 + variant, 1), (1, 2 + 2 * variant), (2, -3 - variant))
            inside = (x - 512) ** 2 + (y - 512) ** 2 < (200 + 40 * variant) ** 2
            for channel, (a, b) in enumerate(slants):
                value = abs((a * x + b * y + 97 * variant) % 510 - 255)
                expected[row, column, channel] = 255 - value if inside else value
    assert np.array_equal(waves((height, width), variant=variant), expected)


def test_variants_differ_and_use_the_whole_range():
    pictures = [waves((64, 64), variant=variant) for variant in range(4)]
    assert len({picture.tobytes() for picture in pictures}) == 4
    for picture in pictures:
        assert picture.min() < 5
        assert picture.max() > 250
        assert picture.std(axis=(0, 1)).min() > 40
