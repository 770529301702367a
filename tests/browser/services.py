"""Starts the service for tests of its page."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType

import vit_runtime as vit
from vit_runtime.searching.index import Index

from .stand_in import Running, StandIn


class Service:
    """`vit-run serve` on a free port."""

    def __init__(self, models: list[str | Path], *, index: Path | None = None, token: str = "", hosts: list[str] | None = None) -> None:
        self.hosts = hosts
        self.models, self.index, self.token = models, index, token
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        named = dict(str(m).split("=") if "=" in str(m) else (Path(m).stem, m) for m in self.models)
        stand_in = StandIn({k: vit.load(v) for k, v in named.items()}, Index(self.index) if self.index else None, token=self.token)
        self.running = Running(stand_in, self.port)

    def stop(self) -> None:
        self.running.end()

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
