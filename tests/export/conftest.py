"""Fixtures of the export's tests: PyTorch's own answers as reference, and folders that leave no gigabytes behind."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.made_pictures import blots
from tests.tiny import THREE_BLOCKS, TINY
from torchvision.models import VisionTransformer, WeightsEnum
from torchvision.models._api import BUILTIN_MODELS

from vit_export import ExportRequest, export
from vit_export.errors import CheckpointError
from vit_export.read.torchvision_state import random_state
from vit_runtime.artifact import Architecture, read_artifact
from vit_runtime.errors import VitEdgeError
from vit_runtime.pictures.preprocess import load_pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = {
    "image_size": TINY.image_size,
    "patch_size": TINY.patch_size,
    "num_layers": TINY.layers,
    "num_heads": TINY.heads,
    "hidden_dim": TINY.width,
    "mlp_dim": TINY.mlp_width,
    "num_classes": TINY.classes,
}
"""The tiny model as torchvision spells it."""


class PyTorch:
    """The reference, built from torchvision and PyTorch alone, with none of vit_export's code."""

    @staticmethod
    def tiny_model(**sizes: int) -> VisionTransformer:
        """The tiny model as torchvision initialises it; `sizes` replace its own."""
        return VisionTransformer(**(TORCHVISION | sizes)).eval()

    @staticmethod
    def tiny(state: Mapping[str, torch.Tensor], **sizes: int) -> VisionTransformer:
        """The tiny model with a state dict, strictly loaded."""
        model = PyTorch.tiny_model(**sizes)
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True)
        return model

    @staticmethod
    def normalise(pixels: np.ndarray, mean=MEAN, std=STD) -> torch.Tensor:
        """(x / 255 - mean) / std: uint8 (N, H, W, 3) to float (N, 3, H, W)."""
        scaled = torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255
        return (scaled - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    @staticmethod
    def run(model: VisionTransformer, inputs: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Logits and embedding; the embedding is the class token of the encoder's output, which ends with LayerNorm."""
        caught: list[torch.Tensor] = []
        hook = model.encoder.register_forward_hook(lambda _module, _args, output: caught.append(output[:, 0]))
        with torch.inference_mode():
            logits = model(inputs)
        hook.remove()
        return logits.numpy(), caught[0].numpy()


@pytest.fixture(scope="session")
def pytorch() -> type[PyTorch]:
    return PyTorch


@pytest.fixture
def vit_b_16_is_tiny(monkeypatch) -> None:
    """torchvision's `vit_b_16` is as small as the tiny model: one of its own size would take half a minute."""
    monkeypatch.setitem(BUILTIN_MODELS, "vit_b_16", PyTorch.tiny_model)


@pytest.fixture
def publish(monkeypatch) -> Callable[[WeightsEnum, str], Path]:
    """`publish(entry, digest)`: as if the entry's file had this SHA-256; returns where torch.hub's cache keeps it.

    The address of a published file ends with the start of its digest.
    """

    def change(entry: WeightsEnum, digest: str) -> Path:
        url = f"{entry.url.rpartition('-')[0]}-{digest[:8]}.pth"
        monkeypatch.setattr(entry.value, "url", url)
        return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]

    return change


@pytest.fixture
def tiny_state(tiny_checkpoint) -> dict[str, torch.Tensor]:
    """The tiny model's weights; the test may change them."""
    return load_file(tiny_checkpoint)


@pytest.fixture(scope="session")
def three_blocks_architecture() -> Architecture:
    return THREE_BLOCKS


@pytest.fixture(scope="session")
def three_blocks(tmp_path_factory) -> Path:
    """Seeded random weights of `THREE_BLOCKS`, as a checkpoint."""
    path = tmp_path_factory.mktemp("three") / "three.safetensors"
    save_file(random_state(THREE_BLOCKS, seed=2), path)
    return path


@pytest.fixture(scope="session")
def calibration_folder(tmp_path_factory) -> Path:
    """A dozen seeded pictures: soft blots of colour, larger than the tiny model's input."""
    path = tmp_path_factory.mktemp("calibration")
    for index in range(12):
        blots(index).save(path / f"{index:02}.png")
    return path


@pytest.fixture(scope="session")
def int8_artifacts(three_blocks, calibration_folder, tmp_path_factory) -> dict[str, Path]:
    """`three_blocks` in int8: static, dynamic, for OpenVINO and portable, and in fp32 beside them."""
    static = {"precision": "int8", "calibrate": calibration_folder}
    options = {
        "static": static,
        "dynamic": {"precision": "int8"},
        "openvino": static | {"target": "openvino"},
        "portable": static | {"target": "portable"},
        "fp32": {},
    }
    folder = tmp_path_factory.mktemp("int8")
    return {
        name: export(ExportRequest(model=str(three_blocks), output=folder / f"{name}.onnx", **kind)).path
        for name, kind in options.items()
    }


@pytest.fixture(scope="session")
def random_pixels():
    """`random_pixels(n, side)`: uint8 (n, side, side, 3)."""
    return lambda n, side: np.random.default_rng(7).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """An empty folder that is gone after the test: pytest would keep exported files for three runs."""
    path = tmp_path / "folder"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def export_state(folder):
    """`export_state(state, **options)` exports a state dict as a user's checkpoint file."""

    def run(state: Mapping[str, torch.Tensor], **options: object):
        save_file(dict(state), folder / "weights.safetensors")
        request = ExportRequest(model=str(folder / "weights.safetensors"), output=folder / "out.onnx", **options)
        return export(request)

    return run


@pytest.fixture
def files_in():
    """`files_in(folder)`: every file below it, hidden ones too."""
    return lambda path: sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


@pytest.fixture
def refusal_of(folder, files_in):
    """`refusal_of(request, starts)`: the one line that refuses an export, which leaves everything as it was."""

    def run(request: ExportRequest, starts: tuple[str, ...]) -> str:
        before = files_in(folder)
        with pytest.raises(VitEdgeError) as caught:
            export(request)
        message = str(caught.value)
        assert isinstance(caught.value, CheckpointError), message
        assert message.startswith(starts), message
        assert "\n" not in message
        assert len(message) < 600
        assert files_in(folder) == before
        return message

    return run


@pytest.fixture(autouse=True)
def _sigterm_as_before() -> Iterator[None]:
    """The command line takes SIGTERM for the process it runs in, here the tests' own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module", params=["static", "dynamic"])
def scheme(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def reference(three_blocks, pytorch):
    """PyTorch's logits and embeddings of pixels."""
    model = pytorch.tiny(load_file(three_blocks), num_layers=3)
    return lambda pixels: pytorch.run(model, pytorch.normalise(pixels))


@pytest.fixture(scope="module")
def pictures(calibration_folder, int8_artifacts) -> np.ndarray:
    """Prepared pictures: those of the calibration, and as many mirrored, which it has not seen."""
    preprocessing = read_artifact(int8_artifacts["static"]).preprocessing
    pixels = np.stack([load_pixels(path, preprocessing) for path in sorted(calibration_folder.iterdir())])
    return np.concatenate([pixels, pixels[:, ::-1, ::-1]])


@pytest.fixture(scope="module")
def undecided(three_blocks, reference, pictures, tmp_path_factory) -> str:
    """A model whose head hardly tells two classes apart: int8 changes answers that a coin might have decided."""
    state = load_file(three_blocks)
    embedding = reference(pictures[:12])[1].astype(np.float64)
    directions = np.linalg.svd(embedding - embedding.mean(axis=0))[2]
    # Along the last direction all embeddings are alike, so that only int8's errors decide; the first parts them a bit.
    direction = directions[-1] + 0.003 * directions[0]
    state["heads.head.weight"].zero_()
    state["heads.head.weight"][1] = torch.tensor(direction)
    state["heads.head.bias"][:] = torch.tensor([0, -np.median(embedding @ direction), *[-10] * 5])
    path = tmp_path_factory.mktemp("undecided") / "undecided.safetensors"
    save_file(state, path)
    return str(path)


@pytest.fixture
def export_int8(three_blocks, calibration_folder, folder):
    """`export_int8(**options)`: a static int8 export of `three_blocks`; `calibrate=None` is dynamic."""

    def run(**options):
        defaults = {"model": str(three_blocks), "output": folder, "calibrate": calibration_folder, "force": True}
        return export(ExportRequest(precision="int8", **(defaults | options)))

    return run
