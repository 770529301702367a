"""Clients that send a byte a second, or read nothing: others are answered meanwhile, and they are closed in time."""

from __future__ import annotations

import socket
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from .slow_clients import SlowClients, shut_off
from .started import PICTURE, Started, asked, connected, exchange, request, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")

QUICK = {"head_seconds": 2.0, "body_seconds": 3.0, "taking_seconds": 1.0}
DRAINED = 3.0
"""Seconds for which the rest of a refused body is read."""
LATE = 10.0
"""Seconds that a busy machine may be late by."""


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to pass in time"
        time.sleep(0.05)


def latencies(service: Started, photo: bytes, count: int) -> list[float]:
    """Seconds of so many requests, one after the other."""
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        assert asked(service.port, "/v1/classify", photo).status == 200
        found.append(time.perf_counter() - begun)
    return found


def check_closed(clients: SlowClients, head_seconds: float, body_seconds: float) -> None:
    """Each was closed when its time was over, and not before."""
    for client in clients.heads:
        assert client.closed_after is not None
        assert head_seconds - 0.1 <= client.closed_after <= head_seconds + LATE
        assert client.received == b""
    for client in clients.bodies:
        assert client.closed_after is not None
        assert body_seconds - 0.1 <= client.closed_after <= body_seconds + DRAINED + LATE
        assert client.status() == 408


def test_others_are_answered_while_slow_clients_send(tiny_artifact: Path, tmp_path: Path):
    with started(tiny_artifact, tmp_path / "log", played=QUICK) as service:
        files = service.open_files()
        with SlowClients(service.port, 45, 0.1) as clients:
            latencies(service, PICTURE, 10)
            assert clients.open() == 45  # none of those answers waited for a slow client's end
            wait_until(lambda: clients.open() == 0, QUICK["body_seconds"] + DRAINED + LATE)
        check_closed(clients, QUICK["head_seconds"], QUICK["body_seconds"])
        assert service.open_files() <= files
        assert service.end() == 0
        assert "Traceback" not in service.printed()


@pytest.mark.slow
def test_200_clients_that_send_a_byte_a_second(tiny_artifact: Path, tmp_path: Path):
    """With the limits of time that hold by default; the test says what it has measured."""
    with started(tiny_artifact, tmp_path / "log") as service:
        latencies(service, PICTURE, 20)
        calm = latencies(service, PICTURE, 200)
        with SlowClients(service.port, 200, 1.0) as clients:
            meanwhile = latencies(service, PICTURE, 200)
            wait_until(lambda: clients.open() == 0, 60 + DRAINED + LATE)
        after = latencies(service, PICTURE, 200)
        check_closed(clients, 10, 60)
        assert service.end() == 0
    for when, found in ("before", calm), ("with 200 slow clients", meanwhile), ("afterwards", after):
        middle, late = statistics.median(found), statistics.quantiles(found, n=20)[-1]
        sys.stdout.write(f"{when}: {1000 * middle:.1f} ms in the middle, {1000 * late:.1f} ms for 19 of 20\n")
    closed = sorted(client.closed_after or 0 for client in clients.all)
    sys.stdout.write(f"closed after {[round(seconds, 1) for seconds in closed[::20]]} s\n")


def test_a_client_that_takes_no_answer_is_cut_off(tiny_artifact: Path, tmp_path: Path):
    with started(tiny_artifact, tmp_path / "log", played=QUICK) as service:
        files = service.open_files()
        with connected(service.port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.5)
            with suppress(TimeoutError):  # until no more can be sent
                while True:
                    client.sendall(request("GET", "/openapi.json") * 100)
            client.setblocking(False)
            assert shut_off(client, QUICK["taking_seconds"] + LATE)
        wait_until(lambda: service.open_files() <= files, LATE)
        assert asked(service.port, "/healthz").status == 200


@pytest.mark.parametrize("line", [b"a:b\r\n", b"1\r\nx\r\n"], ids=["lines", "chunks"])
def test_heads_and_bodies_in_tiny_pieces_do_not_hold_up_others(line: bytes, tiny_artifact: Path, tmp_path: Path):
    """Each piece costs as much as a long one, and all others wait meanwhile: so there may be only so many."""
    head = request("POST", "/v1/classify", headers={"Content-Length": "", "Transfer-Encoding": "chunked"})
    sent = (head[:-2] if line.startswith(b"a") else head) + line * 300
    with started(tiny_artifact, tmp_path / "log") as service:
        (reply,) = exchange(service.port, sent, seconds=20)  # although the request has not come to its end
    assert reply.status == 400
    assert reply.json()["error"].endswith("256 lines of headers, or tiny chunks")


def test_a_body_in_chunks_of_some_size_is_read(tiny_artifact: Path, tmp_path: Path):
    photo = PICTURE + bytes(400_000)  # what follows a PNG is passed over
    pieces = [photo[start : start + 300] for start in range(0, len(photo), 300)]
    body = b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    sent = request("POST", "/v1/classify", body, {"Content-Length": "", "Transfer-Encoding": "chunked"})
    with started(tiny_artifact, tmp_path / "log") as service:
        (reply,) = exchange(service.port, sent)
    assert reply.status == 200
