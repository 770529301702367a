"""Requests whose bodies are hostile, by number: damaged pictures, bombs, broken forms, odd JSON and tensors."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.hostile import bombs
from tests.hostile.aimed_pictures import aimed
from tests.hostile.good_pictures import Good
from tests.hostile.mutate import mutated

from .started import request

V1 = ("/v1/classify", "/v1/embed", "/v1/attend", "/v1/classify?also=map,embedding")
PICTURE_TYPES = (
    "image/png",
    "image/jpeg",
    "image/*",
    "application/octet-stream",
    "",
    "application/x-www-form-urlencoded",
)
OTHER_TYPES = (
    *("text/html", "application/xml", "video/mp4", "multipart/mixed; boundary=x", "image", "application/json5"),
    *("application/json; charset=utf-16", "\xff\xfe", "multipart/form-data", "a" * 3000, 'x/y; a="'),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e308, 10**40, "", "x", "\ud800", "\0", [], {}, [[]], [None], {"a": {}}, "A" * 5000),
    *([1, "2", [3]], {"data": None}, {"name": 1, "data": "aaaa"}, {"name": None}, "====", "aaa", "😀"),
)


@dataclass(frozen=True)
class Hostile:
    """A request that means no good."""

    kind: str
    sent: bytes
    may_be_fine: bool = False
    """Whether an answer of status 200 is right: damage often leaves a picture that can be read."""
    may_be_closed: bool = False
    """Whether the connection may be closed without an answer: what was sent never comes to its end, or is no HTTP."""


Make = Callable[[random.Random, Sequence[Good], str], Hostile]


def damaged(rng: random.Random, goods: Sequence[Good]) -> bytes:
    """A damaged picture."""
    return rng.choice([aimed, mutated, mutated])(rng.choice(goods).content, rng)


def posted(kind: str, target: str, body: bytes, content_type: str, *, may_be_fine: bool = False) -> Hostile:
    return Hostile(kind, request("POST", target, body, {"Content-Type": content_type}), may_be_fine)


def raw_picture(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    return posted("raw", rng.choice(V1), damaged(rng, goods), rng.choice(PICTURE_TYPES), may_be_fine=True)


def other_type(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    return posted("type", rng.choice(V1), rng.choice(goods).content, rng.choice(OTHER_TYPES))


def bomb(rng: random.Random, _: Sequence[Good], __: str) -> Hostile:
    """Few bytes, and many pixels or much text; the largest that is decoded has 36 million pixels."""
    side = rng.choice([6_000, 8_000, 20_000, 60_000])
    content = rng.choice(
        [
            lambda: bombs.png_of_nothing(side, side),
            lambda: bombs.png_of_nothing(50, 60_000, "rgba"),
            lambda: bombs.gif_of_nothing(min(side, 20_000), 3_000),
            lambda: bombs.bmp_of_nothing(min(side, 20_000), 6_000),
            lambda: bombs.tiff_of_nothing(side, 6_000, 8, 4),
            lambda: bombs.tiff_of_a_large_tile(side),
            lambda: bombs.png_with_packed_text(rng.choice([b"zTXt", b"iTXt", b"iCCP"]), 64),
        ]
    )()
    return posted("bomb", rng.choice(V1), content, "image/png", may_be_fine=True)


def sound_form(pictures: Sequence[bytes], boundary: str = "limit") -> bytes:
    """A form as browsers send it."""
    head = b'Content-Disposition: form-data; name="file"; filename="%d.png"\r\nContent-Type: image/png\r\n\r\n'
    parts = [b"--" + boundary.encode() + b"\r\n" + head % at + each + b"\r\n" for at, each in enumerate(pictures)]
    return b"".join(parts) + b"--" + boundary.encode() + b"--\r\n"


def damaged_form(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    """Damaged pictures in a sound form, or damage anywhere in a form."""
    body = sound_form([damaged(rng, goods) for _ in range(rng.randint(1, 4))])
    body = mutated(body, rng) if rng.random() < 0.5 else body
    return posted("form", rng.choice(V1), body, "multipart/form-data; boundary=limit", may_be_fine=True)


def broken_form(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    """A form that is none: cut off, of too many parts, with huge heads, or a boundary that cannot be."""
    body, boundary = sound_form([rng.choice(goods).content] * 2), "limit"
    way = rng.randrange(9)
    if way == 0:
        body = body[: rng.randrange(len(body) - 12)]
    elif way == 1:
        body = sound_form([b"x"] * 1000)
    elif way == 2:
        body = body.replace(b'name="file"', b'name="' + b"n" * rng.choice([5_000, 500_000]) + b'"')
    elif way == 3:
        body = body.replace(b"Content-Type", b"X-Y: z\r\n" * 1000 + b"Content-Type")
    elif way == 4:
        body, boundary = sound_form([b"x"], "b" * 5000), "b" * 5000
    elif way == 5:
        boundary = rng.choice(["", '""', "other", "li\\mit", "limi", "\xff", '"limit', "limit; boundary=x"])
    elif way == 6:
        body = body.replace(b"filename", b"file-name").replace(b"Content-Type: image/png", b"Content-Type: text/plain")
    elif way == 7:
        body = body.replace(b"form-data", rng.choice([b"attachment", b"", b"\xff\xfe"]))
    else:
        body = b"--limit--\r\n" if rng.random() < 0.5 else body.replace(b"\r\n", b"\n")
    return posted("broken form", rng.choice(V1), body, f"multipart/form-data; boundary={boundary}")


def damaged_json(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    """Damaged pictures in sound JSON, or damage anywhere in it."""
    names = ["", "x.jpg", "../../etc/passwd", "\ud800", "a" * 5000, "\r\nX: y", "\0"]
    entries = [
        {"name": rng.choice(names), "data": base64.b64encode(damaged(rng, goods)).decode()}
        for _ in range(rng.randint(1, 4))
    ]
    body = json.dumps({"pictures": entries}).encode()
    body = mutated(body, rng) if rng.random() < 0.5 else body
    return posted("json", rng.choice(V1), body, "application/json", may_be_fine=True)


def odd_json(rng: random.Random, _: Sequence[Good], __: str) -> Hostile:
    """JSON of a wrong shape, with base64 that is none, nested deeply, or no JSON."""
    odd = rng.choice(ODD_VALUES)
    documents: list[Any] = [odd, {"pictures": odd}, {"pictures": [odd]}, {"pictures": [odd] * 100}, {"picture": "aaaa"}]
    depth = rng.choice([10, 100, 250, 5_000, 1_000_000])
    bodies = [
        *(json.dumps(document).encode() for document in documents),
        b"[" * depth,
        b'{"pictures":' + b"[" * depth + b"]" * depth + b"}",
        b'{"pictures":' * depth + b"1" + b"}" * depth,
        b'{"pictures":["' + rng.randbytes(200) + b'"]}',
        *(b'{"pictures":[NaN]}', b'{"pictures":[-Infinity]}', b'{"pictures":[' + b"9" * 50_000 + b"]}"),
        *(b"", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"pictures":[""]}', b'{"pictures":["aGVsbG8="', b'{"pictures":[]}'),
    ]
    return posted("odd json", rng.choice(V1), rng.choice(bodies), "application/json")


def odd_tensor(rng: random.Random, _: Sequence[Good], model: str) -> Hostile:
    """A request of the open inference protocol whose head has a wrong shape, or whose bytes do not fit it."""
    tensor: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    head: dict[str, Any] = {"inputs": [tensor]}
    odd, binary, length = rng.choice(ODD_VALUES), b"", None
    way = rng.randrange(7)
    if way == 0:
        tensor[rng.choice(["name", "datatype", "shape"])] = odd
    elif way == 1:
        shapes: list[Any] = [[1, 32, 32], [0, 32, 32, 3], [-1, 32, 32, 3], [2**63, 32, 32, 3], [1.0, 32, 32, 3]]
        tensor["shape"] = rng.choice([*shapes, [True, 32, 32, 3], [33, 32, 32, 3], [10**30, 32, 32, 3]])
    elif way == 2:
        data: list[Any] = [[256] * 3072, [-1] * 3072, [0.5] * 3072, [10**30] * 3072, [[0] * 3] * 1024, [[0], 1], odd]
        tensor["data"] = rng.choice(data)
    elif way == 3:
        head = rng.choice([{"inputs": odd}, {"inputs": [odd]}, {"inputs": [tensor, tensor]}, {}, odd])
    elif way == 4:
        head["outputs"] = rng.choice([[odd], [{"name": odd}], "logits", [{"name": "logits"}] * 2, {"name": "logits"}])
    elif way == 5:
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": rng.choice([0, 3071, 3073, -1, 2**63, "3072", 3072.0, odd])}
        binary = bytes(rng.choice([0, 3071, 3072]))
    else:
        length = rng.choice(["-1", "99999999", "x", "\xb2", "1e3", "0", "9" * 3000, "12"])
    body = json.dumps(head).encode()
    headers = {"Content-Type": "application/octet-stream"}
    if length is not None or binary:
        headers["Inference-Header-Content-Length"] = length or str(len(body))
    return Hostile("tensor", request("POST", f"/v2/models/{model}/infer", body + binary, headers))


BODIES: dict[Make, int] = {
    raw_picture: 6,
    other_type: 1,
    bomb: 1,
    damaged_form: 3,
    broken_form: 3,
    damaged_json: 3,
    odd_json: 3,
    odd_tensor: 3,
}
"""What is made how often."""
