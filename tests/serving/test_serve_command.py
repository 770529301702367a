"""`vit-run serve` that cannot start: one clear line, and an exit status that is not 0."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.conftest import VIT_RUN, Start

EVERYWHERE = "0.0.0.0"  # noqa: S104 - it asks for a token


def refused(*arguments: object) -> tuple[int, str]:
    """The exit status and the only line of a service that does not start."""
    done = subprocess.run(
        [VIT_RUN, "serve", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr
    return done.returncode, line


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_there_is_not(tiny_artifact: Path):
    assert refused(tiny_artifact, "--port", 70000)[0] == 2


def test_a_port_that_is_taken(taken: int, tiny_artifact: Path):
    status, line = refused(tiny_artifact, "--port", taken)
    assert (status, line) == (
        2,
        f"error: --port {taken}: cannot listen on 127.0.0.1 (Address already in use); choose another",
    )


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.168.0.7", "example.org"])
def test_other_machines_need_a_token(host: str, tiny_artifact: Path):
    status, line = refused(tiny_artifact, "--host", host)
    assert (status, line) == (
        2,
        f"error: --host: anyone who reaches {host} could ask; set a token by VIT_EDGE_TOKEN, or add --no-token",
    )


@pytest.mark.parametrize("token", ["short", "a token with spaces in it", "ein-tökèn-mit-vielen-buchstaben"])
def test_tokens_that_are_none(token: str, tiny_artifact: Path):
    status, line = refused(tiny_artifact, "--token", token)
    assert (status, token in line) == (2, False)
    assert "make one: openssl rand -hex 16" in line


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["missing.onnx"], 1, "missing.onnx: no such file"),
        (["MODEL", "MODEL"], 2, "two models are called tiny; name one of them: NAME=MODEL.onnx"),
        (["a/b=MODEL"], 2, "'a/b' cannot be a model's name in an address"),
        (["MODEL", "--idle-unload", "0"], 2, "--idle-unload: 0 is no time"),
        (["MODEL", "--idle-unload", "nan"], 2, "--idle-unload: nan is no time"),
        (["MODEL", "--allow-origin", "example.org"], 2, "example.org is no site; give it as https://example.org"),
        (["MODEL", "--allow-origin", "https://example.org/page"], 2, "is no site"),
        (["MODEL", "--index", "nowhere"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_served(arguments: list[str], status: int, told: str, tiny_artifact: Path):
    found = refused(*(part.replace("MODEL", str(tiny_artifact)) for part in arguments), "--port", "0")
    assert found[0] == status
    assert told in found[1]


def test_an_index_of_another_model(tiny_artifact: Path, index: Path):
    status, line = refused(tiny_artifact, "--index", index, "--port", "0")
    assert (status, "another model" in line or "made with" in line) == (1, True), line


def test_without_the_extra(tiny_artifact: Path, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'starlette' else find(name, *rest)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "from vit_runtime.cli import main; main()", "serve", tiny_artifact],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"},
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: starlette: not installed; run: pip install 'vit-edge[serve]'"


def test_a_file_whose_name_has_an_equals_sign(start: Start, tiny_artifact: Path, tmp_path: Path):
    path = tmp_path / "size=32.onnx"
    path.write_bytes(tiny_artifact.read_bytes())
    status, line = refused(path, "--port", "0")
    assert (status, "name it with letters" in line) == (2, True)
    assert start(f"small={path}").get("/v1/models").json["models"][0]["name"] == "small"


def test_another_address_with_a_token(start: Start, tiny_artifact: Path):
    service = start(tiny_artifact, "--host", EVERYWHERE, VIT_EDGE_TOKEN="f" * 32)
    assert service.get("/healthz", Host="pi.local").status == 200  # any name: what needs a token is safe from pages
    assert service.get("/metrics").status == 401


def test_a_note_where_pages_of_any_site_could_ask(start: Start, tiny_artifact: Path):
    """A name that is made to point to this machine has the origin of its own page."""
    assert any(
        "name this machine by --allow-host" in note
        for note in start(tiny_artifact, "--host", EVERYWHERE, "--no-token").notes
    )
    named = start(tiny_artifact, "--host", EVERYWHERE, "--no-token", "--allow-host", "pi.local")
    assert not any("warning" in note for note in named.notes)
    assert named.get("/healthz", Host="evil.example").status == 421
