"""The metadata document: what was written is read back, and whatever does not fit the schema is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from vit_runtime import Artifact, ArtifactError, read_artifact
from vit_runtime.artifact import FORMAT_VERSION, METADATA_KEY
from vit_runtime.codec import decode, encode

GOLDEN = Path(__file__).parent / "golden" / "artifact_v2.json"
GOLDEN_INT8 = GOLDEN.with_name("artifact_v2_int8.json")

Document = dict[str, Any]
Place = tuple[str | int, ...]
Refusal = Callable[[object], str]


def write_model(path: Path, document: str) -> Path:
    """An ONNX file with an empty graph and a metadata document."""
    model = onnx.helper.make_model(onnx.GraphProto(name="empty"))
    onnx.helper.set_model_props(model, {METADATA_KEY: document})
    path.write_bytes(model.SerializeToString())
    return path


def read(golden: Path) -> Document:
    return json.loads(golden.read_text(encoding="utf-8"))


@pytest.fixture
def document() -> Document:
    """Of a float32 artifact."""
    return read(GOLDEN)


@pytest.fixture
def int8_document() -> Document:
    return read(GOLDEN_INT8)


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """The message with which a document, or a text in its place, is refused."""

    def run(document: object) -> str:
        path = write_model(tmp_path / "m.onnx", document if isinstance(document, str) else json.dumps(document))
        with pytest.raises(ArtifactError) as caught:
            read_artifact(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert len(message.splitlines()) == 1
        assert len(message) < 300 + len(str(path))
        return message

    return run


@pytest.mark.parametrize("golden", [GOLDEN, GOLDEN_INT8], ids=lambda golden: golden.stem)
def test_version_2_is_still_read_and_written_alike(golden: Path, tmp_path: Path):
    """The files are never to be changed: artifacts that lie on people's devices look like this."""
    text = golden.read_text(encoding="utf-8")
    artifact = read_artifact(write_model(tmp_path / "model.onnx", text))
    assert json.dumps(encode(artifact), indent=2, ensure_ascii=False) + "\n" == text
    assert json.loads(artifact.to_json()) == json.loads(text)
    assert artifact.labels == ("Samoyed", 'tabby, "tiger" cat', "犬")
    assert artifact.preprocessing.crop_hw == (32, 32)
    assert artifact.architecture.tokens == 17
    assert artifact.self_test.logits == (0.244887933, 0.60223037, -1.30819285)


def test_a_float32_artifact_is_held_to_differences(document: Document, tmp_path: Path):
    artifact = read_artifact(write_model(tmp_path / "model.onnx", json.dumps(document)))
    assert (artifact.precision, artifact.target, artifact.quantization) == ("fp32", "cpu", None)
    assert artifact.verification.logit_tolerance == artifact.verification.embedding_tolerance == 1e-4
    assert artifact.verification.cosine_limit is None
    assert artifact.self_test.answers == "reference"


def test_an_int8_artifact_says_how_it_was_quantized_and_what_that_cost(int8_document: Document, tmp_path: Path):
    artifact = read_artifact(write_model(tmp_path / "model.onnx", json.dumps(int8_document)))
    assert (artifact.precision, artifact.target) == ("int8", "portable")
    assert artifact.verification.logit_tolerance is None
    assert artifact.verification.cosine_limit == 0.95
    assert artifact.self_test.answers == "export"
    quantization = artifact.quantization
    assert quantization.scheme == "static"
    assert quantization.kept_float == ("encoder/0/mlp/output", "encoder/1/attention/output")
    assert (quantization.calibration.pictures, quantization.calibration.skipped) == (40, 2)
    assert quantization.agreement.same_top1 == 39
    assert [(loss.layer, loss.sqnr_db) for loss in quantization.sensitivity][:2] == [
        ("encoder/1/attention/output", 21.37),
        ("encoder/0/mlp/output", 24.5),
    ]


def test_dynamic_quantization_has_no_calibration(int8_document: Document, tmp_path: Path):
    int8_document["target"] = "cpu"
    int8_document["quantization"] |= {"scheme": "dynamic", "calibration": None, "agreement": None, "sensitivity": []}
    artifact = read_artifact(write_model(tmp_path / "model.onnx", json.dumps(int8_document)))
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


def test_an_int8_artifact_has_no_quantization_while_its_export_is_under_way(int8_document: Document):
    """The exporter writes such a draft to load the graph, before it knows how well that answers."""
    draft = decode(Artifact, int8_document | {"quantization": None, "verification": None, "self_test": None})
    assert draft.quantization is None
    assert draft.precision == "int8"


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


@pytest.mark.parametrize("version", [0, 1, 3, 99, "2", None, [2]], ids=repr)
def test_another_format_version_says_what_was_found_and_what_is_supported(
    version: object, document: Document, refusal: Refusal
):
    message = refusal(document | {"format_version": version, "key of the future": 1})
    assert f"has format version {version!r}, and this vit-edge reads version 2" in message
    older = version in (0, 1)
    assert ("upgrade vit-edge" in message) is not older
    assert "export the model again" in message


def test_version_1_is_refused_and_to_be_exported_again(document: Document, refusal: Refusal):
    """A whole document as version 1 had it: what is missing in it is not what is told."""
    document["format_version"] = 1
    for key in ("target", "quantization"):
        del document[key]
    for key in ("remark", "min_logit_cosine", "min_embedding_cosine", "cosine_limit"):
        del document["verification"][key]
    del document["self_test"]["answers"]
    message = refusal(document)
    assert "has format version 1, and this vit-edge reads version 2" in message
    assert message.endswith("export the model again")


@pytest.mark.parametrize("version", [True, 2.0])
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


def places(value: object, here: Place = ()) -> Iterator[Place]:
    """Every place in a document, from the outside in."""
    if here:
        yield here
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*here, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*here, index))


GOLDEN_PLACES = [
    *((GOLDEN, place) for place in places(read(GOLDEN))),
    *((GOLDEN_INT8, place) for place in places(read(GOLDEN_INT8)) if place[0] == "quantization"),
]


def look_up(document: Document, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def name(place: Place) -> str:
    """A place as messages show it."""
    return METADATA_KEY + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


@pytest.mark.parametrize(
    ("golden", "place"),
    [
        pytest.param(golden, place, id=f"{golden.stem}:{name(place)}")
        for golden, place in GOLDEN_PLACES
        if isinstance(place[-1], str)
    ],
)
def test_a_missing_key_is_named(golden: Path, place: Place, refusal: Refusal):
    document = read(golden)
    del look_up(document, place[:-1])[place[-1]]
    if place == ("format_version",):
        assert "format version None" in refusal(document)
    else:
        assert f"{name(place[:-1])} has no '{place[-1]}'" in refusal(document)


OBJECTS = [(), *(place for _, place in GOLDEN_PLACES if isinstance(look_up(read(GOLDEN_INT8), place), dict))]


@pytest.mark.parametrize("place", dict.fromkeys(OBJECTS), ids=name)
def test_an_unknown_key_is_named(place: Place, int8_document: Document, refusal: Refusal):
    look_up(int8_document, place)["speed"] = 1
    assert f"{name(place)} has an unknown key 'speed'" in refusal(int8_document)


WRONG = {
    "object": {"a": 1},
    "nested list": [[[1]]],
    "true": True,
    "text": "some text",
    "number": 0.5,
    "null": None,
}
NULLABLE = (
    "source.sha256",
    "source.licence",
    "source.seed",
    "preprocessing.resize_hw",
    "labels",
    "quantization",
    "quantization.calibration",
    "quantization.agreement",
    "external_data",
    "verification",
    "verification.logit_tolerance",
    "verification.embedding_tolerance",
    "verification.cosine_limit",
    "self_test",
)
# Where free text or any number is right, it is no mistake.
TEXT = ("producer", "model", "weights", "sha256", "licence", "labels", "reference", "runtime", "remark")
TEXT_IN_QUANTIZATION = ("activations", "kept_float", "sha256", "layer")
NUMBER = ("layer_norm_eps", "mean", "std", "logits", "embedding", "sqnr_db", "cosine_limit")


def is_right(kind: str, golden: Path, place: Place) -> bool:
    field = next(step for step in reversed(place) if isinstance(step, str))
    leaf = not isinstance(look_up(read(golden), place), (list, dict))
    texts = TEXT_IN_QUANTIZATION if place[0] == "quantization" else (*TEXT, "pixels_sha256")
    return {
        "text": leaf and field in texts,
        "number": leaf and (field in NUMBER or field.endswith(("_tolerance", "_difference", "_cosine"))),
        "null": ".".join(map(str, place)) in NULLABLE and not (golden == GOLDEN_INT8 and place == ("quantization",)),
    }.get(kind, False)


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("golden", [GOLDEN, GOLDEN_INT8], ids=lambda golden: golden.stem)
def test_a_value_of_the_wrong_type_is_named_wherever_it_is(kind: str, golden: Path, refusal: Refusal):
    document = read(golden)
    for place in (place for where, place in GOLDEN_PLACES if where == golden):
        if is_right(kind, golden, place) or place == ("format_version",):
            continue
        parent = look_up(document, place[:-1])
        before, parent[place[-1]] = parent[place[-1]], WRONG[kind]
        message = refusal(document)
        # "Exactly one of resize_shortest_edge and resize_hw should be set" comes from what holds the two.
        assert name(place) in message or str(place[-1]) in message
        parent[place[-1]] = before


def test_a_number_that_no_float_can_hold(document: Document, refusal: Refusal):
    document["self_test"]["logit_tolerance"] = 10**400
    refusal(document)


INCONSISTENT: dict[str, tuple[Place, object]] = {
    "1 labels for 3 classes": (("labels",), ["one"]),
    "crop_hw (16, 16) does not fit image_size 32": (("preprocessing", "crop_hw"), [16, 16]),
    "crop_hw should have 2 items": (("preprocessing", "crop_hw"), [32, 32, 3]),
    "exactly one of resize_shortest_edge and resize_hw": (("preprocessing", "resize_hw"), [37, 37]),
    "sizes should be at least 1": (("preprocessing", "resize_shortest_edge"), 0),
    "std (0.0, 0.224, 0.225) should be above zero": (("preprocessing", "std"), [0.0, 0.224, 0.225]),
    "supported: 'nearest', 'bilinear', 'bicubic', 'lanczos'": (("preprocessing", "interpolation"), "cubic"),
    "supported: 'fp32', 'int8', 'fp16'": (("precision",), "int4"),
    "supported: 'cpu', 'gpu', 'portable'": (("target",), "npu"),
    "supported: 'reference', 'export'": (("self_test", "answers"), "mine"),
    "supported: 'static', 'dynamic'": (("quantization", "scheme"), "mixed"),
    "supported: 'int8 per output channel'": (("quantization", "weights"), "int4 in groups"),
    "supported: 'logits', 'embedding'": (("outputs", 0), "hidden"),
    "supported: 'torchvision'": (("source", "family"), "unheard of"),
    "image_size 32 is no multiple of patch_size 7": (("architecture", "patch_size"), 7),
    "width 4 is no multiple of heads 3": (("architecture", "heads"), 3),
    "layers is 0": (("architecture", "layers"), 0),
    "logits": (("self_test", "logits"), [0.5, 0.5]),
    "embedding": (("self_test", "embedding"), [0.5]),
}


@pytest.mark.parametrize("expected", INCONSISTENT)
def test_values_that_do_not_fit_each_other_are_refused(expected: str, int8_document: Document, refusal: Refusal):
    place, value = INCONSISTENT[expected]
    look_up(int8_document, place[:-1])[place[-1]] = value
    assert expected in refusal(int8_document)


@pytest.mark.parametrize("part", ["verification", "self_test"])
def test_an_export_that_did_not_finish(part: str, document: Document, refusal: Refusal):
    assert "did not finish; export it again" in refusal(document | {part: None})


@pytest.fixture
def large(document: Document, tmp_path: Path) -> Path:
    """An artifact whose 1,000 bytes of weights lie beside it."""
    document["external_data"] = {"file": "model.onnx.data", "bytes": 1000}
    (tmp_path / "model.onnx.data").write_bytes(bytes(1000))
    return write_model(tmp_path / "model.onnx", json.dumps(document))


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
