"""Fixtures for all tests: real data where it is at hand, and a seeded tiny model that makes most tests fast."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnx
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import vit_export.cli
import vit_runtime.cli
from vit_export import ExportRequest, export, export_text
from vit_export.read.torchvision_state import random_state
from vit_runtime.cache.folder import CACHE_VARIABLE

from .tiny import TINY

Run = Callable[..., Result]


def pytest_report_header() -> str:
    packages = ("numpy", "pillow", "onnxruntime", "onnx", "torch", "torchvision")
    return "versions: " + ", ".join(f"{package} {_version(package)}" for package in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of all tests: what the user has in their own plays no part."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real weights and photos; a file that is missing in it fails the test that wants it."""
    folder = os.environ.get("VIT_EDGE_DATA")
    if not folder:
        pytest.skip("VIT_EDGE_DATA is not set: no real weights and photos here")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded random weights of `TINY`, as a user's fine-tuned checkpoint would lie there."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_file(random_state(TINY, seed=1), path)
    return path


@pytest.fixture(scope="session")
def tiny_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_checkpoint`, exported, without labels. Tests that change the file copy it first."""
    output = tmp_path_factory.mktemp("artifact") / "tiny.onnx"
    return export(ExportRequest(model=str(tiny_checkpoint), output=output)).path


@pytest.fixture(scope="session")
def text_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text tower of a tiny CLIP with seeded weights, whose embeddings are as long as the tiny model's."""
    from .text_models import save_tiny_clip  # imports transformers: seconds, which few tests need

    folder = tmp_path_factory.mktemp("text") / "clip"
    save_tiny_clip(folder, projection=128)
    return export_text(ExportRequest(model=folder, output=folder.parent / "clip.text.onnx")).path


def listen_to_ctrl_c() -> None:
    """For `preexec_fn`: a shell starts its background jobs deaf to SIGINT, and their children inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def interruptible_popen() -> Callable[..., subprocess.Popen[str]]:
    """Starts a program that Ctrl-C reaches however these tests were started; stdout and stderr are piped as text."""
    if sys.platform == "win32":
        pytest.skip("Windows sends no SIGINT to one process")
    return functools.partial(
        subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_ctrl_c
    )


@pytest.fixture
def permissions_hold() -> None:
    """Skips a test where permissions forbid nothing: for root, and on Windows, which has no `os.geteuid` to tell."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("root, and whoever uses Windows, may read and write whatever a file's mode says")


@pytest.fixture(scope="session")
def seal() -> Callable[[bytes], bytes]:
    """`seal(model)` is the bytes of an ONNX file with its digest at the end, as `models/README.md` specifies it."""

    def run(content: bytes) -> bytes:
        model = onnx.ModelProto.FromString(content)
        entries = [entry for entry in model.metadata_props if entry.key != "vit_edge_sha256"]
        del model.metadata_props[:]
        model.metadata_props.extend(entries)
        unsealed = model.SerializeToString()
        digest = onnx.ModelProto()
        digest.metadata_props.add(key="vit_edge_sha256", value=hashlib.sha256(unsealed).hexdigest())
        return unsealed + digest.SerializeToString()

    return run


@pytest.fixture
def vit_run() -> Run:
    """Runs `vit-run` in this process: `vit_run("info", path)` gives exit_code, stdout and stderr."""
    return lambda *args: CliRunner().invoke(vit_runtime.cli.app, [str(arg) for arg in args])


@pytest.fixture
def vit_export_cli() -> Run:
    """Runs `vit-export` in this process."""
    return lambda *args: CliRunner().invoke(vit_export.cli.app, [str(arg) for arg in args])
