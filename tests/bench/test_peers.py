"""Every other contender does the reference's work: its scores for photos are torchvision's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms._presets import ImageClassification
from typer.testing import Result

from vit_bench.contenders.entrants import Entrant
from vit_bench.contenders.names import TOOLS
from vit_bench.contenders.peers import Peers, make_peers
from vit_bench.contenders.source import Source
from vit_bench.contenders.torch_model import is_torchvisions, load_model
from vit_bench.documents import read_results
from vit_bench.measure.statistics import cosine
from vit_export.verify.plain_vit import PlainViT
from vit_runtime.artifact import read_artifact

from .conftest import torchvision_tiny

LEAST_COSINE = {"fp32": 0.999999, "bf16": 0.999, "int8": 0.95}
"""Measured on the tiny model: 1.0000000, 0.99995, and 0.9995 (quantize_dynamic) and 0.984 (NNCF, with bfloat16)."""


@pytest.fixture(scope="module")
def peers(tiny_artifact: Path, tiny_checkpoint: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory):
    source = Source(
        artifact=str(tiny_artifact),
        folder=str(tmp_path_factory.mktemp("peers")),
        checkpoint=str(tiny_checkpoint),
        calibrate=str(photos[0].parent),
    )
    return make_peers(TOOLS, source, lambda _: None, need_own_weights=True)


@pytest.fixture(scope="module")
def expected(tiny_checkpoint: Path, photos: list[Path]) -> np.ndarray:
    """torchvision's own logits for the first photo."""
    model = torchvision_tiny().eval()
    model.load_state_dict(load_file(tiny_checkpoint))
    transforms = ImageClassification(crop_size=32, resize_size=37)  # 32 * 256 / 224, rounded
    with torch.inference_mode():
        logits: np.ndarray = model(transforms(Image.open(photos[0]))[None])[0].numpy()
    return logits


def test_all_are_made(peers: Peers):
    absent = {absent.name: absent.reason for absent in peers.absent}
    assert {*absent} <= {"torch-compile", "torch-int8", "executorch", "executorch-int8"}, absent
    assert {entrant.name for entrant in peers.entrants} == set(TOOLS) - {*absent}
    assert peers.own_weights


@pytest.mark.parametrize(
    "tool",
    [pytest.param(tool, marks=pytest.mark.slow) if tool in ("torch-compile", "torch-int8") else tool for tool in TOOLS],
)
def test_each_gives_torchvisions_scores(tool: str, peers: Peers, expected: np.ndarray, photos: list[Path]):
    entrant = _named(peers, tool)
    finished = entrant.run(replace(entrant.task, photos=(str(photos[0]),), seconds=0.01))
    assert cosine(finished.measured.scores, expected.tolist()) > LEAST_COSINE[entrant.precision]
    assert entrant.bytes > 0
    assert len(finished.measured.model_seconds) >= 3
    assert len(finished.measured.photo_seconds) >= 3
    assert finished.first_answer_seconds > 0


def test_a_traced_graph_runs_a_batch(
    vit_bench_cli: Callable[..., Result],
    tiny_artifact: Path,
    tiny_checkpoint: Path,
    photos: list[Path],
    tmp_path: Path,
):
    """Its batch is built in: it is traced with that of the command."""
    output = tmp_path / "results.json"
    options = ("--against", "onnx", "--checkpoint", tiny_checkpoint, "--batch", 2, "--photo", photos[0])
    done = vit_bench_cli("latency", tiny_artifact, *options, "--seconds", 0.02, "--rounds", 1, "-o", output)
    assert done.exit_code == 0, done.stderr
    (latency,) = read_results(output).latency
    own, traced = latency.contenders
    assert (traced.contender.name, latency.reference, latency.batch) == ("onnx", own.contender.name, 2)
    assert traced.cosine is not None
    assert traced.cosine > LEAST_COSINE["fp32"]
    assert [timing.kind for timing in traced.timings] == ["model"]


def _named(peers: Peers, tool: str) -> Entrant:
    found = [entrant for entrant in peers.entrants if entrant.task.tool == tool]
    if not found:
        pytest.skip(next(absent.reason for absent in peers.absent if absent.name == tool))
    return found[0]


def test_a_kind_that_torchvision_lacks_runs_as_the_plain_model(tiny_artifact: Path, tmp_path: Path):
    from safetensors.torch import save_file

    from vit_export.read.torchvision_state import random_state

    arch = read_artifact(tiny_artifact).architecture
    assert is_torchvisions(arch)
    averaged = replace(arch, pooling="patch_mean")
    assert not is_torchvisions(averaged)
    state = random_state(arch, seed=2)
    save_file(state, tmp_path / "weights.safetensors")
    pixels = torch.randn(3, 3, 32, 32)

    model, what = load_model(averaged, tmp_path / "weights.safetensors")

    with torch.inference_mode():
        answers = PlainViT(averaged, state)(pixels, attention=False)
        assert torch.equal(model(pixels), answers.logits)
    assert "torchvision has none" in what
