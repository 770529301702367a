"""Fixtures of the benchmark's tests: the tiny model in several precisions, and photos of several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.tiny import TINY
from torchvision.models import VisionTransformer
from typer.testing import CliRunner, Result

import vit_bench.cli
from vit_export import ExportRequest, export
from vit_runtime.selftest import waves


def torchvision_tiny() -> VisionTransformer:
    """torchvision's own model of the tiny model's sizes."""
    return VisionTransformer(
        image_size=TINY.image_size,
        patch_size=TINY.patch_size,
        num_layers=TINY.layers,
        num_heads=TINY.heads,
        hidden_dim=TINY.width,
        mlp_dim=TINY.mlp_width,
        num_classes=TINY.classes,
    )


@pytest.fixture(scope="session")
def tiny_int8(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in dynamic int8."""
    output = tmp_path_factory.mktemp("int8") / "tiny.int8.onnx"
    return export(ExportRequest(model=str(tiny_checkpoint), precision="int8", output=output)).path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve different pictures of several sizes."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number:02}.png" for number in range(12)]
    for number, path in enumerate(paths):
        Image.fromarray(waves((60 + 5 * number, 80), variant=number)).save(path)
    return paths


@pytest.fixture
def vit_bench_cli():
    """Runs `vit-bench` in this process; the measuring itself is in processes of its own all the same."""

    def run(*args: object) -> Result:
        return CliRunner().invoke(vit_bench.cli.app, [str(arg) for arg in args])

    return run
