"""`/v1`: the same answers as in this process, however pictures are sent."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from tests.serving.conftest import LABELS, Service, png

import vit_runtime as vit

BOUNDARY = "----boundary"


def form(**files: bytes) -> tuple[bytes, str]:
    """A form as browsers send it, and its type."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{name.replace("_", ".")}"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_predictions_are_those_of_the_library(service: Service, model: vit.ViT, photo: bytes):
    reply = service.post("/v1/classify?top=3", photo)
    assert reply.status == 200
    assert (reply.json["model"], reply.json["engine"]) == ("main", "CPUExecutionProvider")
    (result,) = reply.json["results"]
    assert result["size"] == [120, 90]
    expected = model.classify(photo, top_k=3)
    assert [(each["index"], each["label"], each["kind"]) for each in result["predictions"]] == [
        (each.index, each.label, "softmax") for each in expected
    ]
    np.testing.assert_allclose(
        [each["probability"] for each in result["predictions"]], [each.probability for each in expected], rtol=1e-6
    )
    assert set(result["milliseconds"]) == {"waiting", "reading", "model"}
    assert reply.json["milliseconds"] >= sum(result["milliseconds"].values()) - 1


def test_labels_keep_their_letters(service: Service, photo: bytes):
    labels = {each["label"] for each in service.post("/v1/classify?top=7", photo).json["results"][0]["predictions"]}
    assert labels == set(LABELS)


@pytest.mark.parametrize("way", ["raw", "octets", "curl's", "no type", "form", "json", "json with name"])
def test_each_way_to_send_a_picture(way: str, service: Service, model: vit.ViT, photo: bytes):
    body, kind = form(cat_png=photo)
    reply = {
        "raw": lambda: service.post("/v1/embed", photo),
        "octets": lambda: service.post("/v1/embed", photo, "application/octet-stream"),
        "curl's": lambda: service.post("/v1/embed", photo, "application/x-www-form-urlencoded"),
        "no type": lambda: service.post("/v1/embed", photo, None),
        "form": lambda: service.post("/v1/embed", body, kind),
        "json": lambda: service.post_json("/v1/embed", {"pictures": [as_base64(photo)]}),
        "json with name": lambda: service.post_json(
            "/v1/embed", {"pictures": [{"name": "a/cat.png", "data": as_base64(photo)}]}
        ),
    }[way]()
    assert reply.status == 200
    (result,) = reply.json["results"]
    assert result["picture"] == {"form": "cat.png", "json": "picture 1", "json with name": "cat.png"}.get(
        way, "picture"
    )
    np.testing.assert_allclose(result["embedding"], model.embed(photo)[0], atol=1e-5)


def test_several_pictures_keep_their_order(service: Service, model: vit.ViT):
    pictures = {f"{number}_png": png(number) for number in range(9)}
    reply = service.post("/v1/embed", *form(**pictures))
    assert [result["picture"] for result in reply.json["results"]] == [f"{number}.png" for number in range(9)]
    found = np.array([result["embedding"] for result in reply.json["results"]])
    np.testing.assert_allclose(found, model.embed(list(pictures.values())), atol=1e-5)


def test_the_map_and_where_it_belongs(service: Service, model: vit.ViT, photo: bytes):
    (result,) = service.post("/v1/attend", photo).json["results"]
    np.testing.assert_allclose(result["map"]["values"], model.attend(photo).values, atol=1e-6)
    # 120 x 90 is scaled to 49 x 37, and 32 x 32 of that are seen, from (8, 2) on.
    assert result["map"]["box"] == pytest.approx([8 * 120 / 49, 2 * 90 / 37, 40 * 120 / 49, 34 * 90 / 37], abs=1e-3)


def test_the_map_as_png(service: Service, model: vit.ViT, photo: bytes):
    reply = service.post("/v1/attend", photo, Accept="image/png")
    assert reply.headers["content-type"] == "image/png"
    found = np.asarray(Image.open(BytesIO(reply.body)), np.int16)
    expected = np.asarray(model.attend(photo).overlay(), np.int16)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2


def test_a_turned_photo_is_answered_upright(service: Service):
    encoded = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone that was held upright
    Image.open(BytesIO(png(0))).save(encoded, "JPEG", exif=exif)
    (result,) = service.post("/v1/attend", encoded.getvalue(), "image/jpeg").json["results"]
    assert result["size"] == [90, 120]
    assert result["map"]["box"] == pytest.approx([2 * 90 / 37, 8 * 120 / 49, 34 * 90 / 37, 40 * 120 / 49], abs=1e-3)


def test_nearest_pictures_and_their_thumbnails(service: Service):
    (result,) = service.post("/v1/similar?nearest=4", png(3, (60, 80))).json["results"]
    assert result["nearest"][0]["picture"] == "pictures/3.png"
    assert result["nearest"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    cosines = [each["cosine"] for each in result["nearest"]]
    assert cosines == sorted(cosines, reverse=True)
    assert len(cosines) == 4
    reply = service.get(result["nearest"][0]["thumbnail"])
    assert reply.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(reply.body)).size == (80, 60)


@pytest.mark.parametrize(
    "query",
    [
        "picture=pictures/3.png&model=main",
        "picture=pictures/3.png&model=main&signature=" + "0" * 64,
        "picture=/etc/passwd&model=main&signature=",
        "picture=../pictures/3.png&model=main&signature=" + quote("é"),
        "",
    ],
)
def test_only_what_the_service_has_named_has_a_thumbnail(query: str, service: Service):
    assert service.get(f"/v1/thumbnails?{query}").status == 404


def test_a_thumbnail_of_another_picture_needs_its_own_signature(service: Service):
    (result,) = service.post("/v1/similar", png(3, (60, 80))).json["results"]
    address = result["nearest"][0]["thumbnail"]
    assert service.get(address.replace("3.png", "4.png")).status == 404


def test_all_of_one_pass(service: Service, photo: bytes):
    (result,) = service.post("/v1/classify?also=map,nearest,embedding&nearest=2", photo).json["results"]
    assert {"predictions", "map", "nearest", "embedding"} <= set(result)
    assert len(result["nearest"]) == 2
    (result,) = service.post("/v1/attend?also=classes&top=2", photo).json["results"]
    assert len(result["predictions"]) == 2


def test_models_by_name(service: Service, photo: bytes):
    found = {each["name"]: each for each in service.get("/v1/models").json["models"]}
    assert list(found) == ["main", "plain"]
    assert found["main"]["index"] == {"pictures": 12}
    assert found["main"]["outputs"] == ["logits", "embedding", "rollout"]
    assert (found["plain"]["index"], found["plain"]["file"]) == (None, "tiny.onnx")
    assert (found["plain"]["classes"], found["plain"]["kind"], found["plain"]["image_size"]) == (7, "softmax", 32)
    assert service.post("/v1/classify?model=plain", photo).json["model"] == "plain"
    labels = [each["label"] for each in _predictions(service.post("/v1/classify?model=plain", photo).json)]
    assert all(label.startswith("class ") for label in labels)


def _predictions(document: Any) -> Any:
    return document["results"][0]["predictions"]


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [
        ("/v1/classify?model=other", 404, "no model 'other' here; there is main, plain"),
        ("/v1/classify?top=0", 400, "top=0 should be a whole number from 1 to 1000"),
        ("/v1/classify?top=1e3", 400, "top=1e3 should be"),
        ("/v1/classify?also=maps", 400, "also=maps is unknown; there is classes, embedding, map, nearest"),
        ("/v1/attend?model=plain", 400, "model 'plain' gives no attention maps; export it with --attention"),
        ("/v1/similar?model=plain", 400, "model 'plain' has no pictures to compare with"),
        ("/v1/nothing", 404, "nothing is at /v1/nothing"),
    ],
)
def test_what_cannot_be_asked(path: str, status: int, line: str, service: Service, photo: bytes):
    reply = service.post(path, photo)
    assert reply.status == status
    assert line in reply.error


@pytest.mark.parametrize(
    ("body", "kind", "status", "line"),
    [
        (b"", "image/png", 400, "no picture in the request"),
        (b"no picture", "image/png", 422, "not an image"),
        (png(0)[:300], "image/png", 422, "truncated"),
        (b"x", "text/html", 415, "a body of type text/html is not read"),
        (b"{", "application/json", 400, "the body is no JSON"),
        (b"[]", "application/json", 400, "JSON should be"),
        (b'{"pictures": []}', "application/json", 400, "no picture in the request"),
        (b'{"pictures": [4]}', "application/json", 400, "picture 1 should be base64"),
        (b'{"pictures": ["?"]}', "application/json", 400, "picture 1 is no base64"),
        (b'{"pictures": [' + b"[" * 3000 + b"]}", "application/json", 413, "JSON with more than"),
        (
            b'{"pictures": ' + str(["QQ=="] * 33).replace("'", '"').encode() + b"}",
            "application/json",
            413,
            "more than 32",
        ),
        (form(a=b"x")[0][:-20], form()[1], 400, "the multipart body is broken"),
        (form(a=b"x")[0], "multipart/form-data", 400, "the multipart body is broken"),
        (form()[0], form()[1], 400, "no picture in the request"),
        (form(**{f"p{i}": b"x" for i in range(33)})[0], form()[1], 413, "more than 32 pictures"),
    ],
)
def test_bad_bodies(body: bytes, kind: str, status: int, line: str, service: Service):
    reply = service.post("/v1/classify", body, kind)
    assert (reply.status, line in reply.error) == (status, True), reply.error


def test_a_bad_picture_among_good_ones(service: Service, photo: bytes):
    reply = service.post("/v1/classify", *form(a_png=photo, b_png=b"broken", c_png=photo))
    first, second, third = reply.json["results"]
    assert first["predictions"] == third["predictions"]
    assert set(second) == {"picture", "error"}
    assert second["error"].startswith("b.png: not an image")


def test_a_field_that_is_no_file(service: Service):
    body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="top"\r\n\r\n5\r\n--{BOUNDARY}--\r\n'.encode()
    reply = service.post("/v1/classify", body, f"multipart/form-data; boundary={BOUNDARY}")
    assert (reply.status, reply.error) == (400, "field 'top' is no file; options go into the address, as ?top=5")


def test_compressed_bodies_are_not_read(service: Service, photo: bytes):
    assert service.post("/v1/classify", photo, Content_Encoding="gzip").status == 415


def test_other_methods(service: Service):
    reply = service.get("/v1/classify")
    assert (reply.status, reply.error) == (405, "/v1/classify does not answer GET")
    assert "POST" in reply.headers["allow"]
