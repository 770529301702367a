"""Hostile checkpoints on the command line of `vit-export`: one line that a terminal only shows, and no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from .bad_checkpoints import attacks
from .commands import run, unlike
from .good_checkpoints import Files, hugging_face, in_zip, torchvision_state
from .stubs import Stubs

OURS = r"error: \S.*|reading \S.*|\S.* has no \S.*|a checkpoint does not say .*"
SLOW = pytest.mark.slow
"""Each starts a process that imports torch: some seconds."""
ESCAPES = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e\u2028\nerror: forged"


def sparse() -> Files:
    """PyTorch warns of these when they are made."""
    state = torchvision_state()
    return {"model.pth": in_zip(state | {"class_token": state["class_token"].to_sparse()})}


def speaking() -> Files:
    """Names of weights, of labels and of files."""
    state = torchvision_state() | {ESCAPES: torch.ones(1)}
    return {"model.pth": in_zip(state)}


def speaking_configuration() -> Files:
    return hugging_face(architectures=[ESCAPES], id2label={str(index): ESCAPES for index in range(7)})


def refused(files: Files, folder: Path, stubs: Stubs) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (model,) = folder.glob("model*")
    done = run("vit-export", model, "-o", folder / "out" / "x.onnx", stubs=stubs)
    assert (done.returncode, done.stdout) == (1, "")
    assert unlike(OURS, done.stderr) == []
    assert done.stderr.count("error: ") - done.stderr.count("error: forged") == 1
    assert not list(folder.rglob("*.onnx"))


@pytest.mark.parametrize(
    "make", [sparse, *(pytest.param(make, marks=SLOW) for make in (speaking, speaking_configuration))]
)
def test_it_is_one_line(make: Callable[[], Files], folder: Path, stubs: Stubs):
    refused(make(), folder, stubs)


def test_code_is_not_run(folder: Path, stubs: Stubs, tmp_path: Path):
    files = dict(attacks(tmp_path / "executed"))
    refused(files["attack_beside_zip"], folder, stubs)
    assert not (tmp_path / "executed").exists()


@SLOW
def test_labels_are_kept_as_data_alone(folder: Path, stubs: Stubs):
    """A folder whose labels and name would move a cursor exports, and is not obeyed."""
    files = hugging_face(id2label={str(index): f"{ESCAPES}{index}" for index in range(7)})
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    output = folder / "x.onnx"
    done = run("vit-export", folder / "model", "-o", output, stubs=stubs)
    assert done.stdout == f"{output}\n", done.stderr
    assert "forged" not in done.stderr
