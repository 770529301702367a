"""`vit-run serve` as a real process, what can be seen of it from outside, and a client that sends any bytes at all."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VIT_RUN = Path(sys.executable).with_name("vit-run")
PLAYED = Path(__file__).with_name("played_service.py")
ADDRESS = re.compile(r"http://[^:]+:(\d+): open this")
SECONDS_TO_START = 60
SECONDS_TO_ANSWER = 60


@dataclass(frozen=True)
class Started:
    """A service that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    """What it has printed."""

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def resident(self) -> int:
        """Bytes of its memory."""
        return 1024 * int(self._status("VmRSS"))

    def threads(self) -> int:
        return int(self._status("Threads"))

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Sends a signal, and gives the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def _status(self, field: str) -> str:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii", errors="replace")
        return text.split(f"{field}:")[1].split()[0]


@contextmanager
def started(
    model: Path, log: Path, *options: object, played: Mapping[str, object] | None = None
) -> Iterator[Started]:
    """Starts a service, and kills it in the end if it still runs.

    Args:
        model: its model.
        log: the file that gets what it prints.
        options: further options of the command.
        played: what `played_service.py` changes inside it: limits of time that a test cannot wait for.
    """
    program = [VIT_RUN] if played is None else [sys.executable, PLAYED, json.dumps(dict(played))]
    words = [*map(str, program), "serve", str(model), "--port", "0", *map(str, options)]
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield Started(process, _port(process, log), log)
    finally:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        if found := ADDRESS.search(log.read_text(encoding="utf-8", errors="replace")):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"the service did not start: {log.read_text(encoding='utf-8', errors='replace')}")


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True
    """Whether all bytes have come that its head promises."""

    def json(self) -> Any:
        return json.loads(self.body)


def connected(port: int, seconds: float = SECONDS_TO_ANSWER) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), seconds)


def exchange(port: int, sent: bytes, *, is_cut: bool = False, seconds: float = SECONDS_TO_ANSWER) -> list[Reply]:
    """Sends bytes over a connection of their own and gives the answers until it is closed, informational ones left out.

    Args:
        port: of the service.
        sent: what is sent.
        is_cut: the client says that it sends no more, as one that ends in the middle.
        seconds: how long an answer may take.

    Raises:
        TimeoutError: the service neither answers nor closes.
    """
    with connected(port, seconds) as client:
        gone = False
        try:
            client.sendall(sent)
            if is_cut:
                client.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):  # it has read enough; what it said may still be there
            gone = True
        return list(_replies(client, is_gone=gone))


def _replies(client: socket.socket, *, is_gone: bool) -> Iterator[Reply]:
    """Gives answers until the service closes, or until it has answered and keeps the connection for the next request."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            piece = _received(client)
            if not piece:
                return
            received += piece
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if status == 100:
            continue
        length = int(headers.get("content-length", 0))
        while len(received) < length and (piece := _received(client)):
            received += piece
        yield Reply(status, headers, received[:length], len(received) >= length)
        received = received[length:]
        if not received and not is_gone and headers.get("connection") != "close":
            return


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 16)
    except ConnectionResetError:
        return b""


def request(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A sound request's bytes; `headers` replace its own, and those that are "" are left out."""
    given = {"Host": "127.0.0.1", "Content-Type": "image/png", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def asked(port: int, target: str, body: bytes = b"", seconds: float = SECONDS_TO_ANSWER) -> Reply:
    """Sends a sound request, and gives its answer."""
    (reply,) = exchange(port, request("POST" if body else "GET", target, body), seconds=seconds)
    return reply
