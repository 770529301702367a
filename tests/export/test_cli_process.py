"""`vit-export` as a process of its own: signals, a full disk, and machines where packages are missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("vit-export")
SECONDS = 120


def run(*words: object, before: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a fresh interpreter, after a few lines of Python that prepare it."""
    script = f"{before}\nfrom vit_export.cli import main\nmain()"
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "COLUMNS": "200", **env},
    )


def one_error_line(stderr: str) -> str:
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert stderr.endswith(line + "\n"), stderr
    return line


def test_the_installed_command_exports(tiny_checkpoint, folder, files_in):
    done = subprocess.run(
        [COMMAND, tiny_checkpoint, "-o", folder], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert done.stdout == f"{folder / 'tiny.onnx'}\n"
    assert "Warning" not in done.stderr
    assert files_in(folder) == ["tiny.onnx"]


# Signals.


@pytest.mark.parametrize(
    ("signum", "stage"), [(signal.SIGINT, "writing weights"), (signal.SIGTERM, "verifying against PyTorch")]
)
def test_a_signal_midway_leaves_nothing_and_no_traceback(signum, stage, folder, interruptible_popen):
    words = [COMMAND, "vit_b_32", "--weights", "random", "-o", folder / "out"]
    with interruptible_popen(words) as process:
        seen = []
        for line in process.stderr:
            seen.append(line.strip())
            if line.startswith(stage):
                break
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=SECONDS)

    assert stage in seen
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    assert stderr.strip() == "interrupted"
    assert list((folder / "out").iterdir()) == []


# A disk that is full: the system refuses to let files grow beyond a limit, as it does on a disk without room.


@pytest.mark.parametrize("missing_bytes", [500_000, 50], ids=["for_weights", "for_metadata"])
def test_a_full_disk_is_one_line_and_changes_nothing(missing_bytes, tiny_checkpoint, tiny_artifact, folder, files_in):
    (folder / "tiny.onnx").write_text("precious")
    limit = tiny_artifact.stat().st_size - missing_bytes
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    done = run(tiny_checkpoint, "-o", folder / "tiny.onnx", "--force", before=limited)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"{folder / 'tiny.onnx'}: cannot be written (File too large)" in one_error_line(done.stderr)
    assert files_in(folder) == ["tiny.onnx"]
    assert (folder / "tiny.onnx").read_text() == "precious"


# Machines without the packages of the workstation.

WITHOUT_ANY = (
    "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'onnx', 'safetensors', 'onnxruntime']))"
)
"""Python's own way to make packages look as if they were not installed."""


@pytest.mark.parametrize("words", [["vit_b_16", "--weights", "random"], ["some.pth"], ["--list"]], ids=" ".join)
def test_a_device_is_told_which_extra_brings_the_workstations_packages(words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = run(*words, before=WITHOUT_ANY)
    assert done.returncode == 1
    assert done.stdout == ""
    assert one_error_line(done.stderr) == "error: torch: not installed; run: pip install 'vit-edge[export,cpu]'"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("word", "answer"), [("--help", "Usage: "), ("--version", "vit-edge 0.")])
def test_a_device_is_told_what_the_command_does(word, answer):
    done = run(word, before=WITHOUT_ANY)
    assert done.returncode == 0
    assert done.stderr == ""
    assert answer in done.stdout
