"""`vit-run prepare` and `vit-run cache`: making copies, listing and deleting what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vit_runtime as vit

Run = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("own_cache")


def test_prepare_says_what_it_takes(vit_run: Run, tiny_artifact: Path, dynamic_artifact: Path):
    result = vit_run("prepare", tiny_artifact, dynamic_artifact)
    assert (result.exit_code, result.stderr) == (0, "")
    for line, path in zip(result.stdout.splitlines(), (tiny_artifact, dynamic_artifact), strict=True):
        made = vit.prepare(path)
        assert line == f"{path}: prepared, {made.bytes / 1e6:,.0f} MB in {made.folder}"
    again = vit_run("prepare", tiny_artifact)
    assert again.stdout.startswith(f"{tiny_artifact}: is prepared already, ")
    line = json.loads(vit_run("prepare", tiny_artifact, "--json").stdout)
    assert (line["file"], line["is_new"]) == (str(tiny_artifact), False)


def test_cache_lists_and_clears(vit_run: Run, tiny_artifact: Path, dynamic_artifact: Path, own_cache: Path):
    assert vit_run("cache", "list").stderr == f"0.0 MB in {own_cache}\n"
    vit.prepare(tiny_artifact)
    vit.prepare(dynamic_artifact)
    assert vit_run("tune", dynamic_artifact, "--seconds", 0.1).exit_code == 0
    listed = [json.loads(line) for line in vit_run("cache", "list", "--json").stdout.splitlines()]
    assert sorted((each["kind"], each["file"]) for each in listed) == sorted(
        [
            ("prepared copy", str(tiny_artifact)),
            ("prepared copy", str(dynamic_artifact)),
            ("profile", str(dynamic_artifact)),
        ]
    )
    sizes = {each["file"]: each["bytes"] for each in listed if each["kind"] == "prepared copy"}
    assert sizes[str(tiny_artifact)] > vit.prepare(tiny_artifact).bytes  # with the record
    assert str(tiny_artifact) in vit_run("cache", "list").stdout
    assert vit_run("cache", "clear", dynamic_artifact).exit_code == 0
    assert [json.loads(line)["file"] for line in vit_run("cache", "list", "--json").stdout.splitlines()] == [
        str(tiny_artifact)
    ]
    assert vit_run("cache", "clear").exit_code == 0
    assert vit_run("cache", "list", "--json").stdout == ""
    assert vit.load(tiny_artifact).prepared_copy is None


def test_clear_deletes_nothing_else(vit_run: Run, tiny_artifact: Path, own_cache: Path, tmp_path: Path):
    """Someone may name a folder of their own by VIT_EDGE_CACHE, and links may lead anywhere."""
    vit.prepare(tiny_artifact)
    own_cache.joinpath("thesis.txt").write_text("years")
    own_cache.joinpath("prepared/notes").mkdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    kept.joinpath("file").write_text("mine")
    own_cache.joinpath("prepared/abc").symlink_to(kept)
    assert vit_run("cache", "clear").exit_code == 0
    assert own_cache.joinpath("thesis.txt").exists()
    assert own_cache.joinpath("prepared/notes").exists()
    assert kept.joinpath("file").exists()
    assert sorted(path.name for path in own_cache.joinpath("prepared").iterdir()) == ["notes"]
