"""The built wheel on a device: fresh environments without torch, on the oldest and the newest of what we support."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vit_runtime
from vit_bench.documents import read_results
from vit_runtime.selftest import waves

pytestmark = pytest.mark.install

ROOT = Path(__file__).parents[1]
OLDEST_ONNXRUNTIME = "1.20.1"
MEGABYTES = 1e6


def find_python(version: str) -> str | None:
    """An interpreter of that version which really starts: on the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


@dataclass(frozen=True)
class Device:
    """An environment that holds the wheel and what its `cpu` extra brings."""

    python: Path

    def run(self, *command: object) -> str:
        """Runs a script of the environment; its stdout."""
        script, *arguments = map(str, command)
        done = subprocess.run(
            [self.python.with_name(script), *arguments], capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    (built,) = folder.glob("*.whl")
    return built


def oldest_python() -> str:
    """Python 3.10, JetPack 6's; where none is at hand this one, since onnxruntime is what matters most."""
    return find_python("3.10") or sys.executable


def newest_python() -> str:
    """The newest that is at hand, up to what the wheels of the day allow."""
    return next(filter(None, map(find_python, ("3.14", "3.13", "3.12"))), sys.executable)


@pytest.fixture(scope="session", params=["oldest", "newest"])
def device(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    folder = tmp_path_factory.mktemp(request.param)
    old = request.param == "oldest"
    subprocess.run([oldest_python() if old else newest_python(), "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pin = [f"onnxruntime=={OLDEST_ONNXRUNTIME}"] if old else []
    subprocess.run([*pip, f"vit-edge[cpu] @ file://{wheel}", *pin], check=True)
    yield Device(folder / "bin/python")
    shutil.rmtree(folder)


def test_nothing_of_the_workstation_comes_along(device: Device):
    installed = {package["name"] for package in json.loads(device.run("pip", "list", "--format", "json"))}
    assert not installed & {"torch", "torchvision", "onnx", "safetensors", "huggingface_hub"}


def test_the_same_artifact_gives_the_same_answers(device: Device, tiny_artifact: Path, tmp_path: Path):
    from PIL import Image

    photos = [tmp_path / f"{variant}.png" for variant in range(3)]
    for variant, photo in enumerate(photos):
        Image.fromarray(waves((90, 120), variant=variant)).save(photo)
    device.run("vit-run", "embed", tiny_artifact, *photos, "-o", tmp_path / "there.npy")

    here = vit_runtime.load(tiny_artifact).embed(list(photos))
    there = np.load(tmp_path / "there.npy")

    assert here.std() > 0.1
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-5)


def test_the_self_test_passes(device: Device, tiny_artifact: Path):
    assert json.loads(device.run("vit-run", "check", tiny_artifact, "--json"))["passed"]


def test_export_says_what_is_missing(device: Device, tmp_path: Path):
    script = device.python.with_name("vit-export")
    done = subprocess.run([script, "vit_b_16"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: torch: not installed; run: pip install 'vit-edge[export,cpu]'\n"


def test_the_benchmark_measures_there(device: Device, tiny_artifact: Path, tmp_path: Path):
    results = tmp_path / "device.json"
    options = ("--seconds", "0.2", "--rounds", "2", "--device", "a bare device", "-o", results)
    told = device.run("vit-bench", "all", tiny_artifact, *options)
    assert "tiny: Latency, batch 1\na bare device; " in told
    measured = read_results(results)
    assert measured.latency[0].reference == "vit-edge fp32"
    assert {package.name for package in measured.card.packages} >= {"numpy", "onnxruntime"}
    assert not {package.name for package in measured.card.packages} & {"torch", "onnx"}


def test_a_device_needs_less_than_200_megabytes(device: Device):
    """All that pip installs, compiled files included; pip itself came with the environment."""
    code = "import sys; print(sys.version_info[:2] >= (3, 11)); import sysconfig; print(sysconfig.get_path('purelib'))"
    modern, folder = device.run("python", "-c", code).split()
    if modern == "False":
        pytest.skip("onnxruntime's builds for Python 3.10 need sympy: 60 MB more, see docs/log.md")
    files = [file for file in Path(folder).rglob("*") if file.is_file() and "pip" not in file.relative_to(folder).parts]
    assert sum(file.stat().st_size for file in files) < 200 * MEGABYTES


def test_importing_the_runtime_is_quick_because_it_imports_little(device: Device):
    code = "import sys, vit_runtime; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = set(device.run("python", "-c", code).split())
    assert not imported & {"onnxruntime", "typer", "rich", "pydantic", "torch", "onnx"}
