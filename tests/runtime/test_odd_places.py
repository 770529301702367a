"""Files of answers in odd states: pipes, what a killed program leaves, pictures with odd names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

FORMATS = [".jsonl", ".csv"]
COMMAND = "import sys; sys.argv[0] = 'vit-run'; from vit_runtime.cli import main; main()"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
@pytest.mark.parametrize("option", ["--force", "--resume"])
def test_a_pipe_is_no_file_of_answers(option: str, tiny_artifact: Path, photo: Path, tmp_path: Path):
    """Opening it would wait for somebody who reads from it."""
    os.mkfifo(target := tmp_path / "classes.csv")
    words = map(str, ("classify", tiny_artifact, photo, "-o", target, option))
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"error: {target}: cannot be written (is no regular file); choose another place" in done.stderr
    assert sorted(tmp_path.iterdir()) == [target, photo]


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_file_is_begun_anew(suffix: str, vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path):
    """A program that replaces a file can be killed when the old answers are gone, and the old note is still there."""
    target = tmp_path / f"classes{suffix}"
    assert vit_run("classify", tiny_artifact, photo, photo, "-o", target, "--top", 2).exit_code == 0
    whole = target.read_bytes()
    assert vit_run("classify", tiny_artifact, photo, photo, "-o", target, "--top", 3, "--force").exit_code == 0
    target.write_bytes(b"")  # the note says 3
    for _ in range(2):
        done = vit_run("classify", tiny_artifact, photo, photo, "-o", target, "--top", 2, "--resume")
        assert done.exit_code == 0
        assert target.read_bytes() == whole
    assert done.stderr.splitlines()[-1] == f"{target}: 2 records, 2 of them from before"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["", "-", 'no such, "file"\r\n', "tab\t", "\u202e"])
def test_a_picture_of_any_name_is_asked_for_once(
    name: str, suffix: str, vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path
):
    target = tmp_path / f"classes{suffix}"
    names = [str(photo), f"./{name}" if name == "-" else name]
    assert vit_run("classify", tiny_artifact, *names, "-o", target).exit_code == 1
    whole = target.read_bytes()
    done = vit_run("classify", tiny_artifact, *names, "-o", target, "--resume")
    assert done.exit_code == 0
    assert target.read_bytes() == whole


def test_what_a_note_says_does_not_flood_the_terminal(vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path):
    target = tmp_path / "classes.jsonl"
    assert vit_run("classify", tiny_artifact, photo, "-o", target).exit_code == 0
    note = target.with_name(f"{target.name}.job")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"model": "\n\x1b[31m" * 100_000}))
    done = vit_run("classify", tiny_artifact, photo, "-o", target, "--resume")
    assert done.exit_code == 1
    assert len(done.stderr) < 1_000 + len(str(target))
    assert "\x1b" not in done.stderr
