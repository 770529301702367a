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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hostile.good_pictures import colour, encoded

PICTURE = encoded(colour(), "PNG")
"""A sound one, small."""
VIT_RUN = Path(sys.executable).with_name("vit-run")
PLAYED = Path(__file__).with_name("played_service.py")
ADDRESS = re.compile(r"http://[^:]+:(\d+): open this")
KEPT_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Threads that asyncio keeps once there was work for them: a large body, memory to give back."""
SECONDS_TO_START = 60


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
def started(model: Path, log: Path, *options: object, played: Mapping[str, object] | None = None) -> Iterator[Started]:
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


def connected(port: int, seconds: float = 60) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), seconds)


def exchange(port: int, sent: bytes, *, cut_after: float | None = None, seconds: float = 60) -> list[Reply]:
    """Sends bytes over a connection of their own and gives the answers, but those that only tell to go on.

    Args:
        port: of the service.
        sent: what is sent.
        cut_after: where no answer comes for so long the client sends no more, as one that ends in the middle; None for
            a client that waits.
        seconds: how long an answer may take.

    Raises:
        TimeoutError: the service neither answers nor closes.
    """
    with connected(port, seconds) as client:
        gone = False
        try:
            client.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):  # it has read enough; what it said may still be there
            gone = True
        reader = _Reader(client, cut_after, seconds)
        return list(_replies(reader, is_head=sent.startswith(b"HEAD "), is_gone=gone))


class _Reader:
    """The receiving half of a client."""

    def __init__(self, client: socket.socket, cut_after: float | None, seconds: float) -> None:
        self._client, self._cut_after, self._seconds = client, cut_after, seconds
        self.received = b""

    def more(self) -> bool:
        """Receives some more; says whether there was more before the end."""
        try:
            self._client.settimeout(self._cut_after or self._seconds)
            piece = self._client.recv(1 << 16)
        except ConnectionResetError:
            return False
        except TimeoutError:
            if self._cut_after is None:
                raise
            self._cut_after = None
            with suppress(OSError):  # it may be closed by now
                self._client.shutdown(socket.SHUT_WR)
            return True
        self.received += piece
        return bool(piece)

    def until(self, mark: bytes) -> bytes | None:
        """Takes what is in front of a mark, and the mark; None where the end comes first."""
        while mark not in self.received:
            if not self.more():
                return None
        taken, _, self.received = self.received.partition(mark)
        return taken

    def take(self, count: int) -> bytes:
        """Takes so many bytes, or fewer where the end comes first."""
        while len(self.received) < count and self.more():
            pass
        taken, self.received = self.received[:count], self.received[count:]
        return taken


def _replies(reader: _Reader, *, is_head: bool, is_gone: bool) -> Iterator[Reply]:
    """Gives answers until the service closes, or has answered and keeps the connection for another request."""
    while (head := reader.until(b"\r\n\r\n")) is not None:
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if status == 100:
            continue
        length = 0 if is_head else int(headers["content-length"])
        body = reader.take(length)
        yield Reply(status, headers, body, len(body) == length)
        if not reader.received and not is_gone and headers.get("connection") != "close":
            return


def request(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A sound request's bytes; `headers` replace its own, and those that are "" are left out."""
    given = {"Host": "127.0.0.1", "Content-Type": "image/png", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def asked(port: int, target: str, body: bytes = b"", seconds: float = 60) -> Reply:
    """Sends a sound request, and gives its answer."""
    (reply,) = exchange(port, request("POST" if body else "GET", target, body), seconds=seconds)
    return reply
