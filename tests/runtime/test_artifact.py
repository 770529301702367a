"""The metadata document: what was written is read back; other files, versions and unfinished exports are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from vit_runtime import Artifact, ArtifactError, read_artifact
from vit_runtime.artifact import FORMAT_VERSION, METADATA_KEY, Description
from vit_runtime.artifact.codec import decode, encode

GOLDEN = Path(__file__).parent / "golden" / "artifact_v5.json"
GOLDEN_INT8 = GOLDEN.with_name("artifact_v5_int8.json")
VERSION_4 = (GOLDEN.with_name("artifact_v4.json"), GOLDEN.with_name("artifact_v4_int8.json"))
VERSION_3 = (GOLDEN.with_name("artifact_v3.json"), GOLDEN.with_name("artifact_v3_int8.json"))
VERSION_2 = (GOLDEN.with_name("artifact_v2.json"), GOLDEN.with_name("artifact_v2_int8.json"))

Document = dict[str, Any]
Refusal = Callable[[object], str]
WriteDocument = Callable[[object], Path]


@pytest.mark.parametrize("golden", [GOLDEN, GOLDEN_INT8], ids=lambda golden: golden.stem)
def test_version_5_is_still_read_and_written_alike(golden: Path, write_document: WriteDocument):
    """The files are never to be changed: artifacts that lie on people's devices look like this."""
    text = golden.read_text(encoding="utf-8")
    artifact = read_artifact(write_document(text))
    assert json.dumps(encode(artifact), indent=2, ensure_ascii=False) + "\n" == text
    assert json.loads(artifact.to_json()) == json.loads(text)
    assert artifact.labels == ("Samoyed", 'tabby, "tiger" cat', "犬")
    assert artifact.preprocessing.crop_hw == (32, 32)
    assert artifact.self_test.outputs[0].output == "logits"
    assert artifact.self_test.outputs[0].values == (0.244887933, 0.60223037, -1.30819285)


def test_a_float32_artifact_is_held_to_differences(document: Document, write_document: WriteDocument):
    artifact = read_artifact(write_document(document))
    assert (artifact.precision, artifact.target, artifact.quantization) == ("fp32", "cpu", None)
    checks = artifact.verification.outputs
    assert [(check.output, check.tolerance) for check in checks] == [
        ("logits", 1e-4),
        ("embedding", 1e-4),
        ("rollout", 1e-6),
    ]
    assert [check.cosine_limit for check in checks] == [None, None, None]
    assert artifact.self_test.answers == "reference"
    assert artifact.verification.reading == "library"
    assert [(taken.subject, taken.value) for taken in artifact.assumptions] == [
        ("heads", "2"),
        ("preprocessing", "torchvision's ImageNet preset"),
    ]
    assert artifact.architecture.tokens == 1 + 4 * 4


def test_attention_maps_say_how_they_are_rolled_out(document: Document, write_document: WriteDocument):
    artifact = read_artifact(write_document(document))
    assert (artifact.rollout.head_fusion, artifact.rollout.discard_ratio) == ("max", 0.25)
    assert artifact.outputs == ("logits", "embedding", "rollout")
    assert len(artifact.self_test.outputs[2].values) == 4 * 4


def test_an_int8_artifact_says_how_it_was_quantized_and_what_that_cost(
    int8_document: Document, write_document: WriteDocument
):
    artifact = read_artifact(write_document(int8_document))
    assert (artifact.precision, artifact.target) == ("int8", "portable")
    checks = artifact.verification.outputs
    assert [(check.output, check.cosine_limit) for check in checks] == [("logits", 0.95), ("embedding", 0.95)]
    assert [check.tolerance for check in checks] == [None, None]
    assert artifact.self_test.answers == "export"
    quantization = artifact.quantization
    assert quantization.scheme == "static"
    assert quantization.kept_float == ("encoder/0/mlp/output", "encoder/1/attention/output")
    assert (quantization.calibration.pictures, quantization.calibration.skipped) == (40, 2)
    assert quantization.agreement.same_top1 == 39
    agreement = quantization.agreement.outputs
    assert [(output.output, output.mean_cosine, output.max_difference) for output in agreement] == [
        ("logits", 0.99987, 0.21875),
        ("embedding", 0.99765, 0.34375),
    ]
    assert [(loss.layer, loss.sqnr_db) for loss in quantization.sensitivity][:2] == [
        ("encoder/1/attention/output", 21.37),
        ("encoder/0/mlp/output", 24.5),
    ]


def test_a_model_of_another_family_says_what_it_has_more(int8_document: Document, write_document: WriteDocument):
    artifact = read_artifact(write_document(int8_document))
    assert (artifact.source.family, artifact.preprocessing.crop_rounding) == ("huggingface", "down")
    arch = artifact.architecture
    assert (arch.activation, arch.registers, arch.pooling) == ("tanh", 4, "class_token_and_patch_mean")
    assert (arch.prefix, arch.tokens, arch.head_width) == (1 + 4, 5 + 4 * 4, 2 * arch.width)


def test_a_model_without_a_head_has_no_logits(document: Document, write_document: WriteDocument):
    document["architecture"]["classes"] = 0
    document |= {"labels": None, "head": None, "outputs": ["embedding"], "rollout": None}
    document["self_test"]["outputs"] = document["self_test"]["outputs"][1:2]
    document["verification"] |= {"same_top1": None, "outputs": document["verification"]["outputs"][1:2]}
    artifact = read_artifact(write_document(document))
    assert artifact.outputs == ("embedding",)
    assert artifact.verification.same_top1 is None
    assert [answer.output for answer in artifact.self_test.outputs] == ["embedding"]


def test_dynamic_quantization_has_no_calibration(int8_document: Document, write_document: WriteDocument):
    int8_document["target"] = "cpu"
    int8_document["quantization"] |= {"scheme": "dynamic", "calibration": None, "agreement": None, "sensitivity": []}
    artifact = read_artifact(write_document(int8_document))
    assert artifact.quantization.calibration is None
    assert artifact.quantization.agreement is None
    assert artifact.quantization.sensitivity == ()


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_float_artifact_with_quantization_is_refused(precision: str, int8_document: Document, refusal: Refusal):
    message = refusal(int8_document | {"precision": precision})
    assert f"precision {precision}" in message
    assert "quantization" in message


def test_an_int8_artifact_without_quantization_is_refused(int8_document: Document, refusal: Refusal):
    message = refusal(int8_document | {"quantization": None})
    assert "precision int8" in message
    assert "quantization" in message


def test_a_description_is_what_is_known_before_anything_is_measured(int8_document: Document):
    """The exporter loads a graph by it, before it knows how well that answers."""
    measured = {"quantization", "external_data", "verification", "self_test"}
    known = {key: value for key, value in int8_document.items() if key not in measured}
    description = decode(Description, known)
    assert description.precision == "int8"
    assert json.loads(description.to_json()) == known
    assert not isinstance(description, Artifact)


def test_the_tiny_artifact_is_read_as_it_was_written(tiny_artifact: Path):
    artifact = read_artifact(str(tiny_artifact))
    assert isinstance(artifact, Artifact)
    assert artifact.format_version == FORMAT_VERSION
    stored = {entry.key: entry.value for entry in onnx.load(tiny_artifact).metadata_props}
    assert artifact.to_json() == stored[METADATA_KEY]


def test_an_onnx_file_of_another_tool(tmp_path: Path):
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(onnx.GraphProto(name="g"), producer_name="pytorch"), path)
    with pytest.raises(ArtifactError, match="without vit-edge metadata; export the model with vit-export"):
        read_artifact(path)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4, 6, 99, "5", None, [5]], ids=repr)
def test_another_format_version_says_what_was_found_and_what_is_supported(
    version: object, document: Document, refusal: Refusal
):
    message = refusal(document | {"format_version": version, "key of the future": 1})
    assert f"has format version {version!r}, and this vit-edge reads version 5" in message
    older = version in (0, 1, 2, 3, 4)
    assert ("upgrade vit-edge" in message) is not older
    assert "export the model again" in message


def older_version_is_told(message: str, version: int) -> None:
    assert f"has format version {version}, and this vit-edge reads version 5" in message
    assert message.endswith("export the model again")
    assert "upgrade" not in message


@pytest.mark.parametrize("golden", VERSION_4, ids=lambda golden: golden.stem)
def test_version_4_is_refused_and_to_be_exported_again(golden: Path, refusal: Refusal):
    """A whole document as version 4 had it: what is missing in it is not what is told."""
    older_version_is_told(refusal(golden.read_text(encoding="utf-8")), 4)


@pytest.mark.parametrize("golden", VERSION_3, ids=lambda golden: golden.stem)
def test_version_3_is_refused_and_to_be_exported_again(golden: Path, refusal: Refusal):
    """A whole document as version 3 had it: what is missing in it is not what is told."""
    older_version_is_told(refusal(golden.read_text(encoding="utf-8")), 3)


@pytest.mark.parametrize("golden", VERSION_2, ids=lambda golden: golden.stem)
def test_version_2_is_refused_and_to_be_exported_again(golden: Path, refusal: Refusal):
    """A whole document as version 2 had it: what is missing in it is not what is told."""
    older_version_is_told(refusal(golden.read_text(encoding="utf-8")), 2)


def test_version_1_is_refused_and_to_be_exported_again(refusal: Refusal):
    """As above."""
    document = json.loads(VERSION_2[0].read_text(encoding="utf-8"))
    document["format_version"] = 1
    for key in ("target", "quantization"):
        del document[key]
    for key in ("remark", "min_logit_cosine", "min_embedding_cosine", "cosine_limit"):
        del document["verification"][key]
    del document["self_test"]["answers"]
    older_version_is_told(refusal(document), 1)


@pytest.mark.parametrize("version", [True, 4.0])
def test_a_format_version_of_another_type_is_refused(version: object, document: Document, refusal: Refusal):
    refusal(document | {"format_version": version})


@pytest.mark.parametrize("text", ["", "{", "not JSON", '{"format_version": 1', "{'format_version': 1}", "1 2"])
def test_broken_json(text: str, refusal: Refusal):
    assert "no JSON" in refusal(text)


@pytest.mark.parametrize("text", ["null", "1", '"text"', "[]", "[1]", "{}", "true"])
def test_json_of_another_kind(text: str, refusal: Refusal):
    refusal(text)


def test_json_that_is_nested_too_deeply(refusal: Refusal):
    refusal("[" * 100_000)


@pytest.mark.parametrize("part", ["verification", "self_test"])
def test_an_export_that_did_not_finish(part: str, document: Document, refusal: Refusal):
    assert re.search(f"{part}.*; export it again", refusal(document | {part: None}))


@pytest.fixture
def large(document: Document, write_document: WriteDocument, tmp_path: Path) -> Path:
    """An artifact whose 1,000 bytes of weights lie beside it."""
    document["external_data"] = {"file": "model.onnx.data", "bytes": 1000, "sha256": "0" * 64}
    (tmp_path / "model.onnx.data").write_bytes(bytes(1000))
    return write_document(document)


def test_weights_beside_the_model_are_found(large: Path):
    assert read_artifact(large).external_data.bytes == 1000


def test_missing_weights_are_named(large: Path):
    weights = large.with_suffix(".onnx.data")
    weights.unlink()
    with pytest.raises(ArtifactError, match="missing") as caught:
        read_artifact(large)
    assert str(weights) in str(caught.value)
    assert "model.onnx;" in str(caught.value)


@pytest.mark.parametrize("size", [0, 999, 1001])
def test_weights_of_another_size_are_named(size: int, large: Path):
    weights = large.with_suffix(".onnx.data")
    weights.write_bytes(bytes(size))
    with pytest.raises(ArtifactError, match=f"has {size:,} bytes where 1,000 belong") as caught:
        read_artifact(large)
    assert str(weights) in str(caught.value)
