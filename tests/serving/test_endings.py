"""The end of the service: what was taken on is answered, who is idle or slow is not waited for."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from .played_service import SLOW
from .started import PICTURE, Reply, asked, connected, request, started

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")

AT_ONCE = 10.0
"""Seconds that ending takes on a busy machine, where nothing is waited for."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_that_were_taken_on_are_answered(number: int, tiny_artifact: Path, tmp_path: Path):
    replies: list[Reply] = []

    def ask() -> None:
        replies.append(asked(service.port, "/v1/classify", SLOW + PICTURE))

    with started(tiny_artifact, tmp_path / "log", played={"slow": 1.0}) as service:
        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        assert service.end(number) == 0
        for client in clients:
            client.join()
        assert [reply.status for reply in replies] == [422] * 4  # the mark in front makes it no picture, a second later
        assert service.printed().endswith("ended\n")
        assert "Traceback" not in service.printed()


def test_idle_connections_and_slow_bodies_are_not_waited_for(tiny_artifact: Path, tmp_path: Path):
    with started(tiny_artifact, tmp_path / "log") as service:
        idle, silent, head, body = (connected(service.port) for _ in range(4))
        idle.sendall(request("GET", "/healthz"))
        answer = b""
        while not answer.endswith(b'{"status":"alive"}'):
            answer += idle.recv(1 << 16)
        head.sendall(b"GET /healthz HT")
        body.sendall(request("POST", "/v1/classify", PICTURE)[:-10])
        time.sleep(0.5)
        begun = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - begun < AT_ONCE
        for client in (idle, silent, head, body):
            assert client.recv(1 << 16) == b""
            client.close()
        assert service.printed().endswith("ended\n")
        assert "Traceback" not in service.printed()


def test_a_service_that_ends_takes_nothing_on(tiny_artifact: Path, tmp_path: Path):
    with started(tiny_artifact, tmp_path / "log", played={"slow": 3.0}) as service:
        with connected(service.port) as last:
            last.sendall(request("POST", "/v1/classify", SLOW + PICTURE))
            time.sleep(0.5)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            with pytest.raises(ConnectionRefusedError):
                connected(service.port)
            assert last.recv(1 << 16).startswith(b"HTTP/1.1 422 ")
        assert service.process.wait(AT_ONCE) == 0
