"""`vit-run info`: the kind of model and what it gives; of int8 how, on what, what that cost, which layers lost most."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vit_export import ExportRequest, export
from vit_runtime.arrays import UInt8Array

Document = dict[str, Any]
Run = Callable[..., Any]
Info = Callable[[Document], dict[str, str]]


@pytest.fixture
def info(vit_run: Run, write_document: Callable[[object], Path]) -> Info:
    """The rows that are printed for a document, by their names, in order."""

    def run(document: Document) -> dict[str, str]:
        result = vit_run("info", write_document(document))
        assert result.exit_code == 0
        assert result.stderr == ""
        rows = [line.split("  ", maxsplit=1) for line in map(indented, result.stdout.splitlines())]
        assert len(dict(rows)) == len(rows)
        return {name: text.strip() for name, text in rows}

    return run


def indented(line: str) -> str:
    """Marks a row that belongs to the one above, so that its two spaces part no columns."""
    return f">{line.strip()}" if line.startswith("  ") else line


def test_the_family_and_the_tokens(info: Info, int8_document: Document):
    rows = info(int8_document)
    assert rows["model"] == "tiny-with-registers (Hugging Face)"
    assert rows["tokens"] == "21: 1 class, 4 register, 4x4 patches"
    int8_document["architecture"] |= {"registers": 0, "distillation_token": True}
    assert info(int8_document)["tokens"] == "18: 1 class, 1 distillation, 4x4 patches"
    int8_document["architecture"] |= {"class_token": False, "distillation_token": False, "pooling": "patch_mean"}
    assert info(int8_document)["tokens"] == "16: 4x4 patches"


def test_the_outputs_and_what_the_head_reads(info: Info, int8_document: Document, document: Document):
    expected = "logits (N, 3), embedding (N, 4), float32; the head reads the class token and the mean of the patches"
    assert info(int8_document)["outputs"] == expected
    assert info(document)["outputs"] == (
        "logits (N, 3), embedding (N, 4), rollout (N, 4, 4), float32; the head reads the class token; "
        "rollout by max of heads, 25% discarded"
    )
    document["rollout"] = {"head_fusion": "mean", "discard_ratio": 0.0}
    assert info(document)["outputs"].endswith("; rollout by mean of heads")


def test_a_model_without_a_head(info: Info, int8_document: Document):
    int8_document["architecture"]["classes"] = 0
    int8_document |= {"labels": None, "head": None, "outputs": ["embedding"]}
    del int8_document["self_test"]["outputs"][0], int8_document["verification"]["outputs"][0]
    del int8_document["quantization"]["agreement"]["outputs"][0]
    int8_document["verification"]["same_top1"] = int8_document["quantization"]["agreement"]["same_top1"] = None
    rows = info(int8_document)
    assert rows["outputs"] == "embedding (N, 4), float32; no head: embeddings only"
    assert rows["labels"] == "none"
    assert rows[">pictures"] == "4 by formula: same pixels 4"
    assert rows[">embedding cosine"] == "0.99765 on average, 0.98321 at worst; largest difference 0.34"
    assert not {">logits", ">logits cosine", ">on these"} & set(rows)


def test_the_precision_and_the_target(info: Info, int8_document: Document):
    assert info(int8_document)["precision"] == "int8, for target portable"


def test_the_scheme(info: Info, int8_document: Document):
    expected = "static: weights int8 per output channel, activations int8 symmetric, calibrated"
    assert info(int8_document)["quantized"] == expected


def test_layers_in_float_are_the_head_and_those_kept(info: Info, int8_document: Document):
    assert info(int8_document)[">in float"] == "the head, encoder/0/mlp/output, encoder/1/attention/output"
    int8_document["quantization"]["kept_float"] = []
    assert info(int8_document)[">in float"] == "the head"


def test_the_size_beside_float32_is_that_of_both_files(info: Info, int8_document: Document, tmp_path: Path):
    int8_document["external_data"] = {"file": "model.onnx.data", "bytes": 308_641, "sha256": "0" * 64}
    (tmp_path / "model.onnx.data").write_bytes(bytes(308_641))
    rows = info(int8_document)
    size = (tmp_path / "model.onnx").stat().st_size + 308_641
    assert rows[">size"] == f"{size / 1_234_567:.3f} of float32"
    assert rows[">size"].startswith("0.25")


def test_the_calibration(info: Info, int8_document: Document):
    calibration = int8_document["quantization"]["calibration"]
    digest = calibration["sha256"]
    assert info(int8_document)[">calibration"] == f"40 pictures, 2 unreadable ones skipped, SHA-256 {digest}"
    calibration["skipped"] = 0
    assert info(int8_document)[">calibration"] == f"40 pictures, SHA-256 {digest}"


def test_the_agreement_with_float32(info: Info, int8_document: Document):
    rows = info(int8_document)
    assert rows[">on these"] == "same top-1 as float32 for 39 of 40 (97.5%)"
    assert rows[">logits cosine"] == "0.99987 on average, 0.99123 at worst; largest difference 0.22"
    assert rows[">embedding cosine"] == "0.99765 on average, 0.98321 at worst; largest difference 0.34"


def test_layers_by_what_they_lose_the_worst_first(info: Info, int8_document: Document):
    rows = list(info(int8_document).items())
    at = [name for name, _ in rows].index("sensitivity")
    assert "the worst first" in rows[at][1]
    assert rows[at + 1 :] == [
        (">encoder/1/attention/output", "21.4 dB"),
        (">encoder/0/mlp/output", "24.5 dB"),
        (">patch_embed/projection", "38.0 dB"),
        (">encoder/0/mlp/hidden", "41.9 dB"),
    ]


def test_the_three_worst_layers_stand_with_the_other_facts_as_an_export_shows_them(info: Info, int8_document: Document):
    expected = "encoder/1/attention/output (21.4 dB), encoder/0/mlp/output (24.5 dB), patch_embed/projection (38.0 dB)"
    assert info(int8_document)[">loses most"] == expected


def test_the_verification_and_its_limit(info: Info, int8_document: Document):
    rows = info(int8_document)
    assert rows[">remark"] == "checked on the CPU: not with TensorRT, OpenVINO or other runtimes"
    assert rows[">logits"] == "largest difference 3.1e-02; smallest cosine 0.9987654, limit 0.95"
    assert rows[">embedding"] == "largest difference 4.4e-02; smallest cosine 0.9976543, limit 0.95"
    assert rows[">pictures"] == "4 by formula: same top-1 3, same pixels 4"


def test_dynamic_quantization_shows_no_calibration(info: Info, int8_document: Document):
    dynamic = {"scheme": "dynamic", "activations": "uint8 by row", "sensitivity": []}
    int8_document["quantization"] |= dynamic | {"calibration": None, "agreement": None}
    rows = info(int8_document)
    assert rows["quantized"] == "dynamic: weights int8 per output channel, activations uint8 by row"
    missing = {">calibration", ">on these", ">logits cosine", ">embedding cosine", ">loses most", "sensitivity"}
    assert not missing & set(rows)


def test_float32_shows_neither_quantization_nor_a_cosine_limit(vit_run: Run, tiny_artifact: Path):
    lines = vit_run("info", tiny_artifact).stdout.splitlines()
    names = {indented(line).split("  ")[0] for line in lines}
    assert {"verified", ">logits", ">embedding"} <= names
    assert not {"quantized", "sensitivity", ">remark"} & names
    for output in ("logits", "embedding"):
        (row,) = [line for line in lines if indented(line).startswith(f">{output}")]
        assert row.endswith(", limit 1.0e-04; smallest cosine 1")


def test_json_is_the_whole_document(vit_run: Run, int8_document: Document, write_document: Callable[[object], Path]):
    assert json.loads(vit_run("info", "--json", write_document(int8_document)).stdout) == int8_document


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
    for output in ("logits", "embedding"):
        assert re.fullmatch(r"largest difference \S+; smallest cosine 0\.9\d+, limit 0\.95", rows[f">{output}"])
