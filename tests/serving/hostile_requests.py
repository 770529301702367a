"""Requests that are hostile in front of their bodies, by number: heads, lengths, versions, addresses and options."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tests.hostile.good_pictures import Good
from tests.hostile.mutate import mutated

from .hostile_bodies import BODIES, V1, Hostile, Make, sound_form
from .started import request

PATHS = (
    *("/%00", "/%ff%fe", "/v1/classify%00", "/v1/../v1/classify", "/v1/models/..%2f..%2fetc%2fpasswd", "//", "/v1//"),
    *("/v2/models/%ff", "/v2/models/%2e%2e/ready", "/v2/models/x/versions/%00/infer", "/" + "a" * 60_000, "/healthz/"),
    *("http://elsewhere.example/", "*", "localhost:1", "/v1/classify/", "/V1/classify", "/v1/thumbnails", "/%", "/%zz"),
    *("/v1/thumbnails?picture=..%2f..%2fetc%2fpasswd&model=MODEL&signature=%ff", "/%F0%9F%98%80", "/v1/models%2f"),
    "/v1/thumbnails?picture=x&model=MODEL&signature=%00",
)
QUERIES = (
    *("top=0", "top=-1", "top=1e3", "top=", "top=%FF", "top=\u0665".encode().decode("latin-1"), "top=1001", "top=1.5"),
    *(
        "top=" + "9" * 50_000,
        "nearest=x",
        "nearest=%00",
        "also=all",
        "also=map,,x",
        "also=%ff",
        "also=" + "maps," * 9000,
    ),
    *("model=", "model=%00", "model=../x", "model=" + "m" * 50_000, "also=nearest", "top=5&top=x", "top=5;top=6&top=x"),
)
HEADS = (
    *("Origin: http://[", "Origin: null", "Origin: ://", "Host: [", "Host: evil.example", "Host: ", "Host:\x0b"),
    *("Content-Encoding: gzip", "Content-Encoding: \xff", "Expect: 100-continue\r\nContent-Encoding: br"),
    *(
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: 0x10",
        "Content-Length: \xb2",
        "Content-Length: +5",
    ),
    *(
        "Content-Length: " + "9" * 5000,
        "Content-Length: 1, 1",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: \x0bchunked",
    ),
    *("Transfer-Encoding: chunked, chunked", "Transfer-Encoding: identity", ": no name", "No colon", "Sp ace: x"),
    *(" folded: x", "Nul: a\0b", "X: " + "a" * 400_000, "Range: bytes=" + "0-1," * 9000, "Cookie: " + "c" * 60_000),
)
HARMLESS = (
    *("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13", "Upgrade: h2c\r\nConnection: Upgrade"),
    *(
        "Expect: 100-continue",
        "Expect: more",
        "Connection: \xff",
        "Accept: " + "image/png," * 3000,
        "Accept: image/png",
    ),
    *("Content-Type: image/png; a=" + "b" * 20_000, "X-Forwarded-For: 1.2.3.4", "Authorization: \xff", "Te: trailers"),
)
"""What a service may pass over: the answer is that of the picture."""


def odd_path(rng: random.Random, goods: Sequence[Good], model: str) -> Hostile:
    target = rng.choice(PATHS).replace("MODEL", model)
    method = rng.choice(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "X"])
    body = goods[0].content if method == "POST" else b""
    return Hostile("path", request(method, target, body))


def odd_query(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    target = f"{rng.choice(V1[:3])}?{rng.choice(QUERIES)}"
    return Hostile("query", request("POST", target, goods[0].content))


def odd_head(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    """A head with a line that is wrong, huge, or one of thousands."""
    line = rng.choice(HEADS)
    many = "\r\n".join(f"X-{number}: {number}" for number in range(rng.choice([10, 1000, 20_000])))
    sent = request("POST", V1[0], goods[0].content)
    if rng.random() < 0.1:
        return Hostile("many heads", sent.replace(b"\r\n", b"\r\n" + many.encode() + b"\r\n", 1), True, True)
    name = line.partition(":")[0].encode("latin-1")
    kept = [each for each in sent.partition(b"\r\n\r\n")[0].split(b"\r\n") if not each.startswith(name + b":")]
    head = b"\r\n".join([*kept, line.encode("latin-1")])
    is_huge = len(line) > 5000  # whether it is too large depends on how it comes in
    return Hostile("head", head + b"\r\n\r\n" + goods[0].content, is_huge, True)


def harmless_head(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    sent = request("POST", rng.choice(V1[:3]), goods[0].content)
    line = rng.choice(HARMLESS).encode("latin-1")
    return Hostile("harmless", sent.replace(b"\r\n", b"\r\n" + line + b"\r\n", 1), True)


def wrong_length(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    """A body that is shorter than it says, or longer: what is over begins another request."""
    body = rng.choice(goods).content
    length = max(0, len(body) + rng.choice([-len(body), -10, -1, 1, 10, 1 << 20]))
    sent = request("POST", rng.choice(V1), body, {"Content-Length": str(length)})
    return Hostile("length", sent, True, True)


def chunked(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    """Chunks that are damaged, tiny, or with a length besides."""
    body, size = rng.choice(goods).content, rng.choice([1, 7, 100, 10_000])
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    headers = {"Content-Length": "", "Transfer-Encoding": "chunked"}
    way = rng.randrange(6)
    if way == 0:
        return Hostile("two lengths", request("POST", V1[0], coded, headers | {"Content-Length": str(len(coded))}))
    if way == 1:
        coded = mutated(coded, rng)
    elif way == 2:
        coded = rng.choice([b"zz\r\n", b"-1\r\n", b"f" * 5000 + b"\r\n", b"5;" + b"e" * 90_000, b"\r\n\r\n"]) + coded
    elif way == 3:
        coded = coded[: rng.randrange(len(coded))]
    elif way == 4:
        coded = coded[:-2] + b"X: y\r\n" * 20_000 + b"\r\n"
    return Hostile("chunks", request("POST", rng.choice(V1), coded, headers), True, True)


def no_http(rng: random.Random, goods: Sequence[Good], _: str) -> Hostile:
    """Another protocol, another version, or bytes at random."""
    sent = rng.choice(
        [
            *(
                b"GET /\r\n\r\n",
                b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
                b"GET / HTTP/0.9\r\nHost: localhost\r\n\r\n",
            ),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(20),
            b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"G\xe4T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            b"GET " + b"/" * 200_000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300),
            b"SSH-2.0-OpenSSH_9.2\r\n",
            rng.randbytes(rng.choice([1, 100, 100_000])),
            sound_form([goods[0].content]),
            b"\r\n" * 1000,
            b"",
        ]
    )
    return Hostile("no http", sent, False, True)


def mutated_request(rng: random.Random, goods: Sequence[Good], model: str) -> Hostile:
    """A sound request with damage in its head."""
    good = rng.choice(goods).content
    sent = rng.choice(
        [
            request("POST", rng.choice(V1), good),
            request("POST", V1[0], sound_form([good]), {"Content-Type": "multipart/form-data; boundary=limit"}),
            request("GET", f"/v2/models/{model}"),
            request("GET", "/v1/models", headers={"Origin": "http://localhost", "Authorization": "Bearer x"}),
        ]
    )
    head, mark, body = sent.partition(b"\r\n\r\n")
    return Hostile("mutated", mutated(head, rng) + mark + body, True, True)


REQUESTS: dict[Make, int] = {
    odd_path: 2,
    odd_query: 3,
    odd_head: 4,
    harmless_head: 1,
    wrong_length: 2,
    chunked: 3,
    no_http: 2,
    mutated_request: 5,
}


def hostile_requests(goods: Sequence[Good], model: str, seeds: range) -> Iterator[tuple[int, Hostile]]:
    """Gives requests by their seeds; a seed alone says what the request is."""
    kinds = {**BODIES, **REQUESTS}
    for seed in seeds:
        rng = random.Random(seed)
        (make,) = rng.choices(list(kinds), list(kinds.values()))
        yield seed, make(rng, goods, model)
