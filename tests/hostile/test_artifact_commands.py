"""Hostile artifacts on the command line: one line that a terminal only shows, whatever the file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from .artifact_mutants import artifact_mutants
from .commands import run, unlike
from .good_pictures import Good
from .onnx_parts import NAME, Files, with_document, with_graph
from .stubs import Stubs

SOME, ALL = pytest.param(4, id="some"), pytest.param(60, id="all", marks=pytest.mark.slow)
START = 1_000_000
"""Of the seeds: other mutants than the Python API gets."""
ESCAPES = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e\u2028\nerror: forged"
OURS = (
    r"error: \S.*|\S.* (fp32|int8|fp16) on CPUExecutionProvider, \d+ threads|warning: this model has random weights.*"
)
DONE = (0, 1, 3)
"""Answers, a file that is refused, a self-test that fails."""

Commands = Callable[[Files], None]


@pytest.fixture
def commands(goods: list[Good], folder: Path, stubs: Stubs) -> Commands:
    """`commands(artifact)`: what `vit-run` says of it is ours, by three of its commands."""

    def all_of(files: Files) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / "photo.jpg").write_bytes(goods[0].content)
        for words in (["info"], ["check"], ["classify"]):
            photo = [folder / "photo.jpg"] if words == ["classify"] else []
            done = run("vit-run", *words, folder / NAME, *photo, stubs=stubs, statuses=DONE)
            assert unlike(OURS, done.stderr) == []

    return all_of


@pytest.mark.parametrize("count", [SOME, ALL])
def test_damaged_ones(count: int, tiny_artifact: Path, commands: Commands):
    for _, files in artifact_mutants({"fp32": {NAME: tiny_artifact.read_bytes()}}, range(START, START + count)):
        commands(files)


def speaking(found: dict[str, Any]) -> None:
    found["labels"] = [f"{ESCAPES}{index}" for index in range(7)]
    found["model"] = found["producer"] = found["source"]["weights"] = ESCAPES


def half_letters(found: dict[str, Any]) -> None:
    found["labels"] = [f"\ud800{index}" for index in range(7)]
    found["model"] = found["source"]["licence"] = "\udfff"


@pytest.mark.parametrize("edit", [speaking, half_letters])
def test_what_it_says_moves_no_cursor(edit: Callable[[dict[str, Any]], None], tiny_artifact: Path, commands: Commands):
    commands(with_document({NAME: tiny_artifact.read_bytes()}, edit))


def test_an_engine_that_is_asked_for_too_much_prints_nothing(tiny_artifact: Path, commands: Commands):
    """onnxruntime logs beside its exception that so many bytes do not fit into a number."""

    def enlarge(graph: onnx.GraphProto) -> None:
        graph.initializer[-1].dims[0] = 2**63 - 1

    commands(with_graph({NAME: tiny_artifact.read_bytes()}, enlarge))
