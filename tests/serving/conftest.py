"""Fixtures of the service's tests: a real process that listens, and a client without a library of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.artifact import Rollout
from vit_runtime.selftest import waves

VIT_RUN = shutil.which("vit-run", path=str(Path(sys.executable).parent)) or "vit-run"
LABELS = ("Samoyed", "tabby, cat", "café", "犬", "5", "six", "seven")


@dataclass
class Reply:
    """An answer of the service."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self.body[:300]
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of an error."""
        assert list(self.json) == ["error"]
        line = self.json["error"]
        assert isinstance(line, str)
        assert line.isprintable()
        return line


@dataclass
class Service:
    """A service in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    notes: list[str] = field(default_factory=list)
    """Lines that it has printed to stderr."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            return _reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=_spelled(headers))

    def post(self, path: str, body: bytes, content_type: str | None = "image/png", **headers: str) -> Reply:
        kind = {} if content_type is None else {"Content-Type": content_type}
        return self.ask("POST", path, body, kind | _spelled(headers))

    def post_json(self, path: str, document: Any) -> Reply:
        return self.post(path, json.dumps(document).encode(), "application/json")

    def end(self) -> int:
        """Ends it as systemd does, and gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def _spelled(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _reply(response: HTTPResponse) -> Reply:
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


Start = Callable[..., Service]


def start_service(*arguments: object, **environment: str) -> Service:
    """Starts `vit-run serve` on a free port, and waits until it listens."""
    command = [VIT_RUN, "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, encoding="utf-8", env={**os.environ, **environment}
    )
    assert process.stderr is not None
    notes: list[str] = []
    for line in process.stderr:
        notes.append(line.rstrip("\n"))
        if found := re.match(r"http://\S+:(\d+): open this", line):
            service = Service(process, int(found[1]), notes)
            threading.Thread(target=_gather, args=(process.stderr, notes), daemon=True).start()
            return service
    raise AssertionError(f"it ended with status {process.wait()}: {notes}")


def _gather(lines: Any, notes: list[str]) -> None:
    with lines:
        notes.extend(line.rstrip("\n") for line in lines)


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(*arguments, **environment)`: a service that ends with the test."""
    started: list[Service] = []

    def run(*arguments: object, **environment: str) -> Service:
        started.append(start_service(*arguments, **environment))
        return started[-1]

    yield run
    for service in started:
        service.process.kill()
        service.process.wait()


@pytest.fixture(scope="session")
def mapping_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with labels and attention maps."""
    folder = tmp_path_factory.mktemp("mapping")
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    request = ExportRequest(
        model=str(tiny_checkpoint),
        output=folder / "mapping.onnx",
        labels=str(folder / "labels.txt"),
        rollout=Rollout(head_fusion="mean", discard_ratio=0.0),
    )
    return export(request).path


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve pictures."""
    folder = tmp_path_factory.mktemp("gallery") / "pictures"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(waves((60, 80), variant=number)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def index(mapping_artifact: Path, gallery: Path) -> Path:
    """An index of the gallery by the tiny model."""
    path = gallery.parent / "gallery.index"
    subprocess.run([VIT_RUN, "index", mapping_artifact, gallery, "--output", path], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def service(tiny_artifact: Path, mapping_artifact: Path, index: Path) -> Iterator[Service]:
    """A service of two models, the first with maps and an index."""
    running = start_service(f"main={mapping_artifact}", f"plain={tiny_artifact}", "--index", index)
    yield running
    assert running.process.poll() is None, f"the service has died: {running.notes}"
    assert running.end() == 0


@pytest.fixture(scope="session")
def model(mapping_artifact: Path) -> vit.ViT:
    """The first model of `service`, in this process."""
    return vit.load(mapping_artifact, threads=1)


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A picture as PNG, wider than high."""
    return png(0)


def png(variant: int, size_hw: tuple[int, int] = (90, 120)) -> bytes:
    """A picture by formula, as PNG."""
    encoded = BytesIO()
    Image.fromarray(waves(size_hw, variant=variant)).save(encoded, "PNG")
    return encoded.getvalue()
