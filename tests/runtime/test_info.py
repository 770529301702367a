"""`vit-run info` of an int8 artifact: how it was quantized, on what, what that cost, and which layers lost most."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from PIL import Image

from vit_export import ExportRequest, export
from vit_runtime.artifact import METADATA_KEY
from vit_runtime.images import UInt8Array

GOLDEN = Path(__file__).parent / "golden" / "artifact_v2_int8.json"

Document = dict[str, Any]
Run = Callable[..., Any]
Info = Callable[[Document], dict[str, str]]


@pytest.fixture
def document() -> Document:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture
def info(vit_run: Run, tmp_path: Path) -> Info:
    """The rows that are printed for a document, by their names, in order."""

    def run(document: Document) -> dict[str, str]:
        model = onnx.helper.make_model(onnx.GraphProto(name="empty"))
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document)})
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        result = vit_run("info", path)
        assert result.exit_code == 0
        assert result.stderr == ""
        rows = [line.split("  ", maxsplit=1) for line in map(indented, result.stdout.splitlines())]
        assert len(dict(rows)) == len(rows)
        return {name: text.strip() for name, text in rows}

    return run


def indented(line: str) -> str:
    """Marks a row that belongs to the one above, so that its two spaces part no columns."""
    return f">{line.strip()}" if line.startswith("  ") else line


def test_the_precision_and_the_target(info: Info, document: Document):
    assert info(document)["precision"] == "int8, for target portable"


def test_the_scheme(info: Info, document: Document):
    expected = "static: weights int8 per output channel, activations int8 symmetric, calibrated"
    assert info(document)["quantized"] == expected


def test_layers_in_float_are_the_head_and_those_kept(info: Info, document: Document):
    assert info(document)[">in float"] == "the head, encoder/0/mlp/output, encoder/1/attention/output"
    document["quantization"]["kept_float"] = []
    assert info(document)[">in float"] == "the head"


def test_the_size_beside_float32_is_that_of_both_files(info: Info, document: Document, tmp_path: Path):
    document["external_data"] = {"file": "model.onnx.data", "bytes": 308_641}
    (tmp_path / "model.onnx.data").write_bytes(bytes(308_641))
    rows = info(document)
    size = (tmp_path / "model.onnx").stat().st_size + 308_641
    assert rows[">size"] == f"{size / 1_234_567:.3f} of float32"
    assert rows[">size"].startswith("0.25")


def test_the_calibration(info: Info, document: Document):
    calibration = document["quantization"]["calibration"]
    digest = calibration["sha256"]
    assert info(document)[">calibration"] == f"40 pictures, 2 unreadable ones skipped, SHA-256 {digest}"
    calibration["skipped"] = 0
    assert info(document)[">calibration"] == f"40 pictures, SHA-256 {digest}"


def test_the_agreement_with_float32(info: Info, document: Document):
    rows = info(document)
    assert rows[">on these"] == "same top-1 as float32 for 39 of 40 (97.5%)"
    assert rows[">logit cosine"] == "0.99987 on average, 0.99123 at worst; largest difference 0.22"
    assert rows[">embedding cosine"] == "0.99765 on average, 0.98321 at worst; largest difference 0.34"


def test_layers_by_what_they_lose_the_worst_first(info: Info, document: Document):
    rows = list(info(document).items())
    at = [name for name, _ in rows].index("sensitivity")
    assert "the worst first" in rows[at][1]
    assert rows[at + 1 :] == [
        (">encoder/1/attention/output", "21.4 dB"),
        (">encoder/0/mlp/output", "24.5 dB"),
        (">patch_embed/projection", "38.0 dB"),
        (">encoder/0/mlp/hidden", "41.9 dB"),
    ]


def test_the_three_worst_layers_stand_with_the_other_facts_as_an_export_shows_them(info: Info, document: Document):
    expected = "encoder/1/attention/output (21.4 dB), encoder/0/mlp/output (24.5 dB), patch_embed/projection (38.0 dB)"
    assert info(document)[">loses most"] == expected


def test_the_verification_and_its_limit(info: Info, document: Document):
    rows = info(document)
    assert rows[">limit"] == "cosine at least 0.95"
    assert rows[">remark"] == "checked on the CPU: not with TensorRT, OpenVINO or other runtimes"
    assert rows[">logits"] == "largest difference 3.1e-02; smallest cosine 0.9987654"
    assert rows[">pictures"] == "4 by formula: same top-1 3, same pixels 4"


def test_dynamic_quantization_shows_no_calibration(info: Info, document: Document):
    dynamic = {"scheme": "dynamic", "activations": "uint8 by row", "sensitivity": []}
    document["quantization"] |= dynamic | {"calibration": None, "agreement": None}
    rows = info(document)
    assert rows["quantized"] == "dynamic: weights int8 per output channel, activations uint8 by row"
    assert not {">calibration", ">on these", ">logit cosine", ">loses most", "sensitivity"} & set(rows)


def test_float32_shows_neither_quantization_nor_a_cosine_limit(vit_run: Run, tiny_artifact: Path):
    lines = vit_run("info", tiny_artifact).stdout.splitlines()
    names = {indented(line).split("  ")[0] for line in lines}
    assert {"verified", ">logits", ">embedding"} <= names
    assert not {"quantized", "sensitivity", ">limit", ">remark"} & names
    (logits,) = [line for line in lines if indented(line).startswith(">logits")]
    assert ", limit 1.0e-04; smallest cosine 1" in logits


def test_json_is_the_whole_document(vit_run: Run, document: Document, tmp_path: Path):
    model = onnx.helper.make_model(onnx.GraphProto(name="empty"))
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document)})
    onnx.save(model, tmp_path / "model.onnx")
    assert json.loads(vit_run("info", "--json", tmp_path / "model.onnx").stdout) == document


def test_a_written_int8_artifact_tells_its_own_facts(
    vit_run: Run, tiny_checkpoint: Path, random_pictures: Callable[[int], list[UInt8Array]], tmp_path: Path
):
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(random_pictures(3)):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{number}.png")
    request = ExportRequest(
        model=str(tiny_checkpoint),
        precision="int8",
        calibrate=tmp_path / "pictures",
        keep_float=2,
        output=tmp_path / "tiny.onnx",
    )
    export(request)
    lines = vit_run("info", tmp_path / "tiny.onnx").stdout.splitlines()
    rows = {name: text.strip() for name, _, text in (indented(line).partition("  ") for line in lines)}
    losses = [(name, text) for name, text in rows.items() if text.endswith(" dB")]
    decibels = [float(text.removesuffix(" dB")) for _, text in losses]
    assert len(losses) == 1 + 2 * 6  # patches, and six products a block
    assert decibels == sorted(decibels)
    worst = {name.removeprefix(">") for name, _ in losses[:2]}
    assert set(rows[">in float"].split(", ")) == {"the head", *worst}
    assert rows["quantized"].startswith("static: ")
    assert rows[">calibration"].startswith("3 pictures, SHA-256 ")
    assert re.fullmatch(r"same top-1 as float32 for [0-3] of 3 \(.*%\)", rows[">on these"])
    assert rows[">limit"] == "cosine at least 0.95"
