"""`vit-run search`: pictures by words, in folders and in indexes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit_runtime as vit
import vit_runtime.command_line.jobs
from vit_runtime.arrays import FloatArray

from .by_the_page import unit

Run = Callable[..., Any]
Edit = Callable[..., Path]
WORDS = "a red car beside two dogs"


def cosines(model: Path, text: Path, pictures: list[Path]) -> FloatArray:
    wanted = unit(vit.load_text(text).embed(WORDS))[0]
    return unit(vit.load(model).embed(pictures)) @ wanted


def test_a_folder_is_answered_by_the_cosines(vit_run: Run, paired: Path, text_artifact: Path, photos: Path):
    result = vit_run("search", photos, WORDS, "--text", text_artifact, "--model", paired, "--top", 4)
    assert result.exit_code == 0, result.stderr
    pictures = sorted(photos.iterdir())
    found = cosines(paired, text_artifact, pictures)
    best = np.argsort(-found)[:4]
    assert result.stdout.splitlines() == [f"{found[place]:7.4f}  {pictures[place]}" for place in best]


def test_an_index_is_used_as_it_is(
    vit_run: Run, paired: Path, text_artifact: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    index = photos.parent / "photos.index"
    assert vit_run("index", paired, photos, "-o", index).exit_code == 0
    before = vit_run("search", photos, WORDS, "--text", text_artifact, "--model", paired, "--json")
    for photo in photos.iterdir():
        photo.unlink()  # no picture is read

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model of the pictures was loaded")

    monkeypatch.setattr(vit_runtime.command_line.jobs, "load_model", load)
    result = vit_run("search", index, WORDS, "--text", text_artifact, "--model", paired, "--json")
    assert result.exit_code == 0, result.stderr
    with_index, without = ([json.loads(line) for line in each.stdout.splitlines()] for each in (result, before))
    assert [line["image"] for line in with_index] == [line["image"] for line in without]
    for one, other in zip(with_index, without, strict=True):
        assert one["cosine"] == pytest.approx(other["cosine"], abs=1e-6)


def test_towers_of_other_weights_do_not_go_together(
    vit_run: Run, tiny_artifact: Path, text_artifact: Path, photos: Path
):
    result = vit_run("search", photos, WORDS, "--text", text_artifact, "--model", tiny_artifact)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        f"--text: does not go with the picture model: {text_artifact} is of clip, {tiny_artifact} of tiny.safetensors; "
        "export both from one model: vit-export MODEL, and vit-export MODEL --text"
    ) in result.stderr


def test_spaces_of_other_sizes_do_not_go_together(vit_run: Run, edit_artifact: Edit, text_artifact: Path, photos: Path):
    """As where the text tower leads into the joint space, and the picture tower was exported without its projection."""
    sha256 = vit.read_text_artifact(text_artifact).source.sha256

    def edit(document: dict[str, Any]) -> None:
        document["source"]["sha256"] = sha256
        document["architecture"]["projection"] = 64
        document["self_test"]["outputs"][1]["values"] = [0.0] * 64

    result = vit_run("search", photos, WORDS, "--text", text_artifact, "--model", edit_artifact(document=edit))
    assert result.exit_code == 2
    assert "gives 128 numbers" in result.stderr


def test_an_index_of_another_model(vit_run: Run, paired: Path, text_artifact: Path, indexed: Path):
    result = vit_run("search", indexed, WORDS, "--text", text_artifact, "--model", paired)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{indexed}: made with another model, tiny fp32 of SHA-256" in result.stderr


def test_an_index_and_folders(vit_run: Run, paired: Path, text_artifact: Path, indexed: Path, photos: Path):
    result = vit_run("search", indexed, photos, WORDS, "--text", text_artifact, "--model", paired)
    assert result.exit_code == 2
    assert f"{indexed} is an index, which is searched by itself" in result.stderr


@pytest.mark.parametrize("words", ["", "  \t"])
def test_no_words(words: str, vit_run: Run, paired: Path, text_artifact: Path, photos: Path):
    result = vit_run("search", photos, words, "--text", text_artifact, "--model", paired)
    assert result.exit_code == 2
    assert 'error: WORDS: empty; describe what to look for: "a red car"' in result.stderr


def test_files_in_each_others_places(vit_run: Run, paired: Path, text_artifact: Path, photos: Path):
    result = vit_run("search", photos, WORDS, "--text", paired, "--model", text_artifact)
    assert result.exit_code == 1
    assert f"{paired}: reads pictures, not texts; export the text tower of the same model" in result.stderr
    result = vit_run("search", photos, WORDS, "--text", text_artifact, "--model", text_artifact)
    assert result.exit_code == 1
    assert f"{text_artifact}: reads texts, not pictures" in result.stderr


def test_words_that_are_cut_off(paired: Path, text_artifact: Path, photos: Path):
    """In a process of its own: only there does the command show what the library logs."""
    program = "import sys; from vit_runtime.cli import main; sys.argv[0] = 'vit-run'; main()"
    args = ["search", photos, "car " * 100, "--text", text_artifact, "--model", paired]
    command = [sys.executable, "-c", program, *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr.count("1 text of more than 77 tokens, which is what the model reads: the rest is cut off") == 1


def test_unreadable_pictures_are_named_and_the_others_answered(
    vit_run: Run, paired: Path, text_artifact: Path, photos: Path
):
    (photos / "2.png").write_bytes(b"no picture")
    result = vit_run("search", photos, WORDS, "--text", text_artifact, "--model", paired, "--top", 10)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 5
    assert "2.png" in result.stderr
    assert "2.png" not in result.stdout


def test_a_folder_without_pictures(vit_run: Run, paired: Path, text_artifact: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    result = vit_run("search", empty, WORDS, "--text", text_artifact, "--model", paired)
    assert result.exit_code == 1
    assert "a folder without pictures" in result.stderr
