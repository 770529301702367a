"""Commands on a text tower: `info` and `check` take it, those for pictures say what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vit_runtime as vit

Run = Callable[..., Any]
Edit = Callable[..., Path]


def test_info_and_check(vit_run: Run, text_artifact: Path):
    result = vit_run("info", text_artifact)
    assert (result.exit_code, result.stderr) == (0, "")
    for fact in ("text tower of", "3 layers, 2 heads, width 32", "tokens int64 (N, 77)", "embedding (N, 128)"):
        assert fact in result.stdout
    assert json.loads(vit_run("info", text_artifact, "--json").stdout) == json.loads(
        vit.read_text_artifact(text_artifact).to_json()
    )
    result = vit_run("check", text_artifact)
    assert result.exit_code == 0
    assert "PASS: this machine answers as a plain text tower, torch" in result.stdout
    found = json.loads(vit_run("check", text_artifact, "--json").stdout)
    assert (found["passed"], found["same_tokens"], found["same_file"]) == (True, True, True)


def test_check_finds_what_is_wrong(vit_run: Run, edit_text: Edit):
    path = edit_text(document=lambda it: it["self_test"].update(tolerance=0.0, embedding=[0.0] * 128))
    result = vit_run("check", path)
    assert result.exit_code == 3
    assert "FAIL: do not trust its answers" in result.stdout


@pytest.mark.parametrize("command", ["classify", "embed", "attend", "index", "similar", "watch", "tune", "prepare"])
def test_commands_for_pictures_say_what_a_text_tower_is(
    command: str, vit_run: Run, text_artifact: Path, tmp_path: Path
):
    (tmp_path / "x.png").write_bytes(b"")
    given = {"index": ["-o", tmp_path / "x.index"], "similar": [tmp_path / "x.png"]}.get(command, [])
    pictures = [] if command in ("tune", "prepare") else [tmp_path / "x.png"]
    result = vit_run(command, text_artifact, *pictures, *given)
    assert result.exit_code == 1
    assert "reads texts, not pictures: it is a text tower" in result.stderr


def test_options_of_picture_models(vit_run: Run, text_artifact: Path, tmp_path: Path):
    result = vit_run("check", text_artifact, "--report", tmp_path / "x.json")
    assert result.exit_code == 2
    assert "--report: is for picture models" in result.stderr
