"""Clients that send a byte now and then, any number of them in one thread."""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from .started import connected, request

HEAD = request("GET", "/healthz", headers={"X-Slow": "a" * 10_000})
BODY = request("POST", "/v1/classify", bytes(10_000))
CHUNKS = request("POST", "/v1/classify", b"1\r\nx\r\n" * 10_000, {"Content-Length": "", "Transfer-Encoding": "chunked"})
BODIES_BEGIN = b"\r\n\r\n"


class SlowClient:
    """A connection that gets a byte at a time."""

    def __init__(self, port: int, sent: bytes, at_once: int) -> None:
        self.socket = connected(port)
        self.socket.sendall(sent[:at_once])
        self._rest = iter(sent[at_once:])
        self._begun = time.monotonic()
        self.received = b""
        self.closed_after: float | None = None
        """Seconds after which the service has closed it; None while it has not."""

    def step(self) -> None:
        """Sends a byte, and takes what has come."""
        if self.closed_after is not None:
            return
        try:
            while select.select([self.socket], [], [], 0)[0]:
                piece = self.socket.recv(1 << 12)
                if not piece:
                    raise ConnectionResetError
                self.received += piece
            self.socket.sendall(bytes([next(self._rest)]))
        except OSError:
            self.closed_after = time.monotonic() - self._begun
            self.socket.close()

    def status(self) -> int:
        """Of the answer; 0 for none."""
        return int(self.received.split(b" ")[1]) if self.received else 0


class SlowClients:
    """A `with` block during which slow clients send; a third of them heads, the others bodies."""

    def __init__(self, port: int, count: int, every: float) -> None:
        kinds: list[tuple[bytes, Callable[[bytes], int]]] = [
            (HEAD, lambda _: 1),
            (BODY, _head_length),
            (CHUNKS, _head_length),
        ]
        made = itertools.islice(itertools.cycle(kinds), count)
        self.all = [SlowClient(port, sent, length(sent)) for sent, length in made]
        self._every = every
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._send)

    @property
    def heads(self) -> list[SlowClient]:
        return self.all[::3]

    @property
    def bodies(self) -> list[SlowClient]:
        return self.all[1::3] + self.all[2::3]

    def open(self) -> int:
        return sum(client.closed_after is None for client in self.all)

    def __enter__(self) -> SlowClients:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()
        for client in self.all:
            client.socket.close()

    def _send(self) -> None:
        while not self._ends.wait(self._every):
            for client in self.all:
                client.step()


def _head_length(sent: bytes) -> int:
    return sent.index(BODIES_BEGIN) + len(BODIES_BEGIN)


def shut_off(client: socket.socket, seconds: float) -> bool:
    """Whether the service has given a connection up within so long, of which nothing is read."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            client.send(b"x")
        except BlockingIOError:
            pass
        except OSError:
            return True
        time.sleep(0.05)
    return False
