"""Careful by default: who may ask, how much, and what becomes of what is too much."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.serving.conftest import Reply, Service, Start, png

TOKEN = "a-token-of-more-than-16-letters"  # noqa: S105 - it opens nothing


def test_the_token(start: Start, tiny_artifact: Path, photo: bytes):
    service = start(tiny_artifact, VIT_EDGE_TOKEN=TOKEN)
    for path in ("/", "/healthz", "/readyz", "/openapi.json", "/v2/health/ready"):
        assert service.get(path).status == 200
    for path in ("/v1/models", "/metrics", "/v2", "/v2/models/tiny", "/nowhere"):
        reply = service.get(path)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert reply.error == "a token is needed, as 'Authorization: Bearer TOKEN'"
    for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", "Bearer é"):
        assert service.post("/v1/classify", photo, Authorization=wrong).status == 401
    assert service.post("/v1/classify", photo, Authorization=f"Bearer {TOKEN}").status == 200
    assert TOKEN not in str(service.notes)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost.", "127.0.0.1@evil"])
def test_other_names_are_refused(host: str, service: Service):
    """A page whose own name has come to point to this machine could ask otherwise (DNS rebinding)."""
    reply = service.get("/healthz", Host=host)
    assert reply.status in (400, 421)
    assert reply.error


def test_names_that_are_allowed(start: Start, tiny_artifact: Path):
    service = start(tiny_artifact, "--allow-host", "Pi.local")
    for host in ("pi.local", "PI.LOCAL:443", "localhost:1", "[::1]:8000", "127.0.0.1"):
        assert service.get("/healthz", Host=host).status == 200


def test_pages_of_other_sites_are_refused(service: Service, photo: bytes):
    reply = service.post("/v1/classify", photo, Origin="https://evil.example")
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers
    assert service.post("/v1/classify", photo, Origin="null").status == 403
    assert service.post("/v1/classify", photo, Origin=service.address).status == 200
    assert service.ask("OPTIONS", "/v1/classify", headers={"Origin": "https://evil.example"}).status == 403


def test_a_site_that_is_allowed(start: Start, tiny_artifact: Path, photo: bytes):
    site = "https://shop.example"
    service = start(tiny_artifact, "--allow-origin", f"{site}/", VIT_EDGE_TOKEN=TOKEN)
    asked = {"Origin": site, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = service.ask("OPTIONS", "/v1/classify", headers=asked)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, site)
    reply = service.post("/v1/classify", photo, Origin=site, Authorization=f"Bearer {TOKEN}")
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, site)
    refused = service.post("/v1/classify", photo, Origin="https://other.example", Authorization=f"Bearer {TOKEN}")
    assert refused.status == 403


def test_the_page_runs_nothing_but_its_own_script(service: Service):
    reply = service.get("/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(rb"(src|href)=[\"']?(https?:)?//", reply.body)


def test_headers_of_every_answer(service: Service):
    for reply in (service.get("/"), service.get("/nowhere"), service.get("/healthz", Host="x")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"
        assert "server" not in reply.headers


def test_limits_of_a_request(start: Start, tiny_artifact: Path):
    service = start(tiny_artifact, "--max-body", 20_000, "--max-pixels", 12_000, "--max-pictures", 2)
    reply = service.post("/v1/classify", bytes(20_001))
    assert (reply.status, reply.error) == (
        413,
        "the body is larger than 20,000 bytes; send fewer or smaller pictures",
    )
    assert reply.headers["connection"] == "close"
    reply = service.post("/v1/classify", png(0, (110, 110)))
    assert reply.status == 413
    assert "too large: 110x110 are 12,100 pixels" in reply.error
    assert service.post_json("/v1/classify", {"pictures": ["QQ=="] * 3}).status == 413
    assert service.post("/v1/classify", png(0, (100, 100))).status == 200


def test_a_body_without_a_length_is_limited_too(start: Start, tiny_artifact: Path):
    service = start(tiny_artifact, "--max-body", 20_000)
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(25):
            connection.sendall(b"400\r\n" + bytes(1024) + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_full_queue(start: Start, tiny_artifact: Path):
    service = start(tiny_artifact, "--queue", 2, "--threads", 1)
    large = png(0, (2500, 2500))  # long enough in the works to be overtaken
    with ThreadPoolExecutor(12) as pool:
        replies: list[Reply] = list(pool.map(lambda _: service.post("/v1/classify", large), range(24)))
    statuses = {reply.status for reply in replies}
    assert statuses == {200, 429}
    for reply in replies:
        if reply.status == 429:
            assert reply.headers["retry-after"] == "1"
            assert reply.error.startswith("busy: 2 pictures are waiting")
    assert service.post("/v1/classify", png(0)).status == 200
    assert service.get("/metrics").body.count(b"vit_edge_pictures_in_flight 0.0") == 1


def test_a_model_that_nobody_asks_is_unloaded(start: Start, tiny_artifact: Path, photo: bytes):
    service = start(tiny_artifact, "--idle-unload", 0.5)
    first = service.post("/v1/embed", photo).json["results"][0]["embedding"]
    _until(lambda: b'vit_edge_model_loaded{model="tiny"} 0.0' in service.get("/metrics").body)
    assert service.get("/readyz").status == 200
    assert service.get("/v1/models").json["models"][0]["classes"] == 7
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: service.post("/v1/embed", photo), range(8)))
    assert [reply.json["results"][0]["embedding"] for reply in replies] == [first] * 8
    assert b'vit_edge_model_loaded{model="tiny"} 1.0' in service.get("/metrics").body


def test_a_model_that_is_gone_when_it_is_needed_again(start: Start, tiny_artifact: Path, tmp_path: Path, photo: bytes):
    moved = tmp_path / "model.onnx"
    moved.write_bytes(tiny_artifact.read_bytes())
    service = start(moved, "--idle-unload", 0.3)
    _until(lambda: b'vit_edge_model_loaded{model="model"} 0.0' in service.get("/metrics").body)
    moved.unlink()
    reply = service.post("/v1/classify", photo)
    assert (reply.status, "the model cannot be loaded" in reply.error) == (503, True)
    assert service.get("/readyz").status == 503
    assert service.get("/v2/health/ready").status == 503
    assert service.get("/healthz").status == 200
    moved.write_bytes(tiny_artifact.read_bytes())
    assert service.post("/v1/classify", photo).status == 200
    assert service.get("/readyz").status == 200


def _until(holds: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.1)


def test_metrics(start: Start, tiny_artifact: Path, photo: bytes):
    service = start(tiny_artifact)
    for _ in range(3):
        service.post("/v1/classify", photo)
    service.post("/v1/classify", b"x")
    service.get("/no/such/path/" + "x" * 100)
    reply = service.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = reply.body.decode().splitlines()
    for line in (
        'vit_edge_requests_total{path="/v1/classify",status="200"} 3.0',
        'vit_edge_requests_total{path="/v1/classify",status="422"} 1.0',
        'vit_edge_requests_total{path="other",status="404"} 1.0',
        'vit_edge_request_seconds_count{path="/v1/classify"} 4.0',
        'vit_edge_pictures_total{model="tiny",outcome="answered"} 3.0',
        'vit_edge_pictures_total{model="tiny",outcome="failed"} 1.0',
        "vit_edge_pictures_in_flight 0.0",
        "vit_edge_body_bytes 0.0",
    ):
        assert line in lines


def test_nothing_is_written_to_the_disk(start: Start, tiny_artifact: Path, tmp_path: Path):
    """Not even where a form's parts are large, which many frameworks put into temporary files."""
    service = start(tiny_artifact, "--max-body", 64 << 20, TMPDIR=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    content = bytes(30 << 20)
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n' + content + b"\r\n--b--\r\n"
    opened: set[str] = set()
    done = threading.Event()
    watcher = threading.Thread(target=_watch_files, args=(service.process.pid, opened, done))
    watcher.start()
    assert service.post("/v1/classify", body, "multipart/form-data; boundary=b").status == 422
    done.set()
    watcher.join()
    assert sorted(tmp_path.rglob("*")) == before
    assert not {name for name in opened if name.startswith(str(tmp_path))}


def _watch_files(process: int, opened: set[str], done: threading.Event) -> None:
    folder = Path(f"/proc/{process}/fd")
    while folder.is_dir() and not done.wait(0.005):
        for number in folder.iterdir():
            try:
                opened.add(str(number.readlink()))
            except OSError:
                continue


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number: signal.Signals, start: Start, tiny_artifact: Path, photo: bytes):
    service = start(tiny_artifact)
    assert service.post("/v1/classify", photo).status == 200
    service.process.send_signal(number)
    assert service.process.wait(timeout=30) == 0
    assert service.notes[-1] == "ended"
    with pytest.raises(ConnectionRefusedError):
        service.get("/healthz")


def test_openapi(service: Service):
    document = service.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert {"/v1/classify", "/v1/embed", "/v1/attend", "/v1/similar", "/healthz", "/metrics"} <= set(document["paths"])
    spec = pytest.importorskip("openapi_spec_validator")
    spec.validate(json.loads(json.dumps(document)))
