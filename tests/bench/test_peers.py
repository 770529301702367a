"""Every other contender does the reference's work: its scores for photos are torchvision's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import VisionTransformer
from torchvision.transforms._presets import ImageClassification

from vit_bench.contenders import TOOLS, Entrant, PeerRequest, Peers, make_peers
from vit_bench.process import run_task
from vit_bench.statistics import cosine
from vit_bench.torch_model import is_torchvisions, load_model
from vit_export.verify.plain_vit import PlainViT
from vit_runtime.artifact import read_artifact

LEAST_COSINE = {"fp32": 0.999999, "bf16": 0.999, "int8": 0.95}
"""Measured on the tiny model: 1.0000000, 0.99995, and 0.9995 (quantize_dynamic) and 0.984 (NNCF, with bfloat16)."""


@pytest.fixture(scope="module")
def peers(tiny_artifact: Path, tiny_checkpoint: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("peers")
    request = PeerRequest(
        tools=TOOLS,
        artifact=tiny_artifact,
        folder=folder,
        checkpoint=tiny_checkpoint,
        calibrate=photos[0].parent,
        needs_own_weights=True,
    )
    return make_peers(request, lambda _: None)


@pytest.fixture(scope="module")
def expected(tiny_checkpoint: Path, photos: list[Path]) -> np.ndarray:
    """torchvision's own logits for the first photo."""
    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=128, mlp_dim=256, num_classes=7
    ).eval()
    model.load_state_dict(load_file(tiny_checkpoint))
    transforms = ImageClassification(crop_size=32, resize_size=37)  # 32 * 256 / 224, rounded
    with torch.inference_mode():
        logits: np.ndarray = model(transforms(Image.open(photos[0]))[None])[0].numpy()
    return logits


def test_all_are_made(peers: Peers):
    without_compiler = {"torch-compile"} & {absent.name for absent in peers.absent}
    assert {entrant.name for entrant in peers.entrants} == set(TOOLS) - without_compiler
    assert peers.own_weights


@pytest.mark.parametrize("tool", TOOLS)
def test_each_gives_torchvisions_scores(tool: str, peers: Peers, expected: np.ndarray, photos: list[Path]):
    entrant = _named(peers, tool)
    task = entrant.task([photos[0]], threads=1, seconds=0.01)
    finished = run_task(tool, task, entrant.environment)
    assert cosine(finished.measured.scores, expected.tolist()) > LEAST_COSINE[entrant.precision]
    assert entrant.bytes > 0
    assert len(finished.measured.model_seconds) >= 3
    assert len(finished.measured.photo_seconds) >= 3
    assert finished.first_answer_seconds > 0


def test_a_traced_graph_runs_a_batch(
    tiny_artifact: Path, tiny_checkpoint: Path, expected: np.ndarray, photos: list[Path], tmp_path: Path
):
    request = PeerRequest(tools=("onnx",), artifact=tiny_artifact, folder=tmp_path, checkpoint=tiny_checkpoint, batch=2)
    (entrant,) = make_peers(request, lambda _: None).entrants
    finished = run_task("onnx", entrant.task([photos[0]], threads=1, batch=2, seconds=0.01))
    assert cosine(finished.measured.scores, expected.tolist()) > LEAST_COSINE["fp32"]
    assert finished.measured.photo_seconds == ()


def _named(peers: Peers, tool: str) -> Entrant:
    found = [entrant for entrant in peers.entrants if entrant.tool == tool]
    if not found:
        pytest.skip(next(absent.reason for absent in peers.absent if absent.name == tool))
    return found[0]


def test_a_kind_that_torchvision_lacks_runs_as_the_plain_model(tiny_artifact: Path, tmp_path: Path):
    from dataclasses import replace

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
