"""The open inference protocol, spoken by Triton's own client, and by hand where that client would not go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import Service, png

import vit_runtime as vit

pytest.importorskip("geventhttpclient", reason="tritonclient[http] is not installed")
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(service: Service) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


@pytest.fixture
def pixels(model: vit.ViT) -> Any:
    """Three pictures, prepared: uint8 (3, 32, 32, 3)."""
    return np.stack([vit.load_pixels(png(number), model.artifact.preprocessing) for number in range(3)])


def the_input(pixels: Any, *, binary: bool) -> InferInput:
    given = InferInput("pixels", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels, binary_data=binary)
    return given


def test_health_and_facts(client: InferenceServerClient):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("main")
    assert client.is_model_ready("plain", "1")
    assert client.get_server_metadata()["name"] == "vit-edge"
    facts = client.get_model_metadata("main")
    assert facts["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    assert [each["shape"] for each in facts["outputs"]] == [[-1, 7], [-1, 128], [-1, 4, 4]]


@pytest.mark.parametrize("sent", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("answered", [True, False], ids=["binary", "json"])
def test_outputs_are_the_models(client: InferenceServerClient, model: vit.ViT, pixels: Any, sent: bool, answered: bool):
    wanted = [InferRequestedOutput(name, binary_data=answered) for name in ("embedding", "logits")]
    reply = client.infer("main", [the_input(pixels, binary=sent)], outputs=wanted, request_id="seven")
    assert reply.get_response()["id"] == "seven"
    for name, expected in zip(("embedding", "logits"), model.run(pixels, ["embedding", "logits"]), strict=True):
        np.testing.assert_allclose(reply.as_numpy(name), expected, atol=1e-5)
    assert reply.as_numpy("rollout") is None


def test_all_outputs_where_none_is_named(client: InferenceServerClient, model: vit.ViT, pixels: Any):
    reply = client.infer("main", [the_input(pixels, binary=True)])
    for name, expected in zip(model.artifact.outputs, model.run(pixels), strict=True):
        np.testing.assert_allclose(reply.as_numpy(name), expected, atol=1e-5)


def test_one_version(client: InferenceServerClient, pixels: Any):
    assert client.infer("main", [the_input(pixels, binary=True)], model_version="1").as_numpy("logits").shape == (3, 7)
    with pytest.raises(InferenceServerException, match="no version '2' here"):
        client.infer("main", [the_input(pixels, binary=True)], model_version="2")


@pytest.mark.parametrize(
    ("model_name", "shape", "datatype", "line"),
    [
        ("other", (1, 32, 32, 3), "UINT8", "no model 'other' here"),
        ("main", (1, 31, 32, 3), "UINT8", r"should be \[N, 32, 32, 3\]"),
        ("main", (32, 32, 3), "UINT8", r"should be \[N, 32, 32, 3\]"),
        ("main", (33, 32, 32, 3), "UINT8", "33 pictures in a request, and 32 are allowed"),
        ("main", (1, 32, 32, 3), "FP32", "datatype 'FP32' of 'pixels' should be UINT8"),
    ],
)
def test_other_inputs(client: InferenceServerClient, model_name: str, shape: tuple[int, ...], datatype: str, line: str):
    given = InferInput("pixels", list(shape), datatype)
    given.set_data_from_numpy(np.zeros(shape, {"UINT8": np.uint8, "FP32": np.float32}[datatype]))
    with pytest.raises(InferenceServerException, match=line):
        client.infer(model_name, [given])


GOOD: dict[str, Any] = {"name": "pixels", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0] * 3072}


def test_nested_and_flat_data_by_hand(service: Service):
    flat = service.post_json("/v2/models/main/infer", {"inputs": [GOOD]})
    nested = GOOD | {"data": np.zeros((1, 32, 32, 3), int).tolist()}
    assert service.post_json("/v2/models/main/infer", {"inputs": [nested]}).json == flat.json
    assert [each["datatype"] for each in flat.json["outputs"]] == ["FP32"] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"name": "image"},
        {"shape": None},
        {"shape": [1, 32, 32]},
        {"shape": [0, 32, 32, 3], "data": []},
        {"shape": [True, 32, 32, 3]},
        {"shape": [-1, 32, 32, 3]},
        {"shape": [1e9, 32, 32, 3]},
        {"data": None},
        {"data": [0] * 3071},
        {"data": [0.5] * 3072},
        {"data": [256] * 3072},
        {"data": [-1] * 3072},
        {"data": [2**70] * 3072},
        {"data": ["0"] * 3072},
        {"data": [[0], [0, 0]]},
        {"parameters": {"binary_data_size": 3072}},
        {"parameters": {"binary_data_size": "x"}},
    ],
    ids=str,
)
def test_inputs_by_hand_that_are_refused(change: dict[str, Any], service: Service):
    reply = service.post_json("/v2/models/main/infer", {"inputs": [GOOD | change]})
    assert reply.status == 400
    assert reply.error


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"inputs": []},
        {"inputs": [GOOD, GOOD]},
        {"inputs": ["pixels"]},
        {"inputs": [GOOD], "outputs": ["logits"]},
        {"inputs": [GOOD], "outputs": [{"name": "nothing"}]},
        {"inputs": [GOOD], "outputs": [{"name": "logits"}, {"name": "logits"}]},
        {"inputs": [GOOD], "outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]},
        {"inputs": [GOOD], "parameters": {"binary_data_output": "yes"}},
    ],
    ids=lambda document: str(document)[:40],
)
def test_requests_by_hand_that_are_refused(document: Any, service: Service):
    reply = service.post_json("/v2/models/main/infer", document)
    assert reply.status == 400
    assert reply.error


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1" * 5000, "²"])
def test_lengths_of_the_json_that_are_refused(length: str, service: Service):
    body = json.dumps({"inputs": [GOOD]}).encode()
    headers = {"Inference-Header-Content-Length": length.encode("latin-1").decode("latin-1")}
    reply = service.ask("POST", "/v2/models/main/infer", body, headers)
    assert reply.status == 400
    assert reply.error
