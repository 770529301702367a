"""Makes the files of the other contenders from an artifact's own configuration and weights.

Run as `python -m vit_bench.measure.peer_files`, with a `Recipe` as JSON on its standard input: a process of its own,
since PyTorch and NNCF take memory, and can fail in ways of their own. Each file is made once a folder:

- `weights.safetensors`: for torchvision's model in PyTorch, with `weights.json`, which says whether they are the
  artifact's own;
- `traced.onnx`: `torch.onnx.export(dynamo=True)` of that model, for plain onnxruntime and for OpenVINO;
- `dynamic.onnx`: that, through `onnxruntime.quantization.quantize_dynamic` with int8 weights by channel;
- `nncf.xml`: that, through NNCF's post-training quantization for transformers to OpenVINO's format.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from vit_bench.errors import ContenderError
from vit_bench.measure.task import work_as_told
from vit_runtime.artifact import Artifact, read_artifact
from vit_runtime.errors import VitEdgeError
from vit_runtime.files import staging_folder

if TYPE_CHECKING:
    from vit_export.read.state_dict import StateDict

PeerFile = Literal["weights.safetensors", "traced.onnx", "dynamic.onnx", "nncf.xml"]
ABOUT_WEIGHTS: Final = "weights.json"
_CALIBRATION_PICTURES: Final = 32


@dataclass(frozen=True, kw_only=True)
class Source:
    """What files are made from, and where."""

    artifact: str
    folder: str
    """Where they are made; those that are there already are taken."""
    checkpoint: str | None = None
    """What the artifact was exported from, in any form that `vit-export` takes."""
    calibrate: str | None = None
    """Folder of pictures for NNCF; None for noise, which is good enough to measure speed on."""
    batch: int = 1
    """Pictures in one run, which a traced graph has built in."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One file to make."""

    file: PeerFile
    source: Source


def make(recipe: Recipe) -> None:
    """Makes one file; those that it is made from have to be there.

    Raises:
        VitEdgeError: with the reason why it cannot be made.
    """
    source = recipe.source
    folder = Path(source.folder)
    artifact = read_artifact(source.artifact)
    make_file = {
        "weights.safetensors": _make_weights,
        "traced.onnx": _trace,
        "dynamic.onnx": _quantize_dynamic,
        "nncf.xml": _quantize_nncf,
    }[recipe.file]
    with staging_folder(folder / recipe.file, "choose another folder for --peers") as staging:
        make_file(source, artifact, staging / recipe.file)
        # What stands beside a model comes first: where the model is, all of it is.
        for made in sorted(staging.iterdir(), key=lambda path: path.name == recipe.file):
            made.replace(folder / made.name)


def _make_weights(source: Source, artifact: Artifact, target: Path) -> None:
    from safetensors.torch import save_file

    from vit_bench.measure.torch_model import is_torchvisions
    from vit_export.read.torchvision_state import random_state

    state = _own_weights(source.checkpoint, artifact)
    same = state is not None
    if state is None and not is_torchvisions(artifact.architecture):
        raise ContenderError(artifact.model, "is not torchvision's, so its weights are needed", "add --checkpoint")
    if state is None:
        state = random_state(artifact.architecture, seed=0)
    save_file({name: tensor.float().contiguous() for name, tensor in state.items()}, target)
    target.with_name(ABOUT_WEIGHTS).write_text(json.dumps("same" if same else "random"), encoding="utf-8")


def _own_weights(checkpoint: str | None, artifact: Artifact) -> StateDict | None:
    """The weights that an artifact was exported from; None where they are not at hand."""
    from vit_export.progress import Silent
    from vit_export.read.prepare import read_and_prepare
    from vit_export.read.torchvision import MODELS
    from vit_export.request import RANDOM_WEIGHTS, ExportRequest

    arch, source = artifact.architecture, artifact.source
    if checkpoint is not None:
        heads = arch.heads if Path(checkpoint).is_file() else None
        request = ExportRequest(model=checkpoint, heads=heads, image_size=arch.image_size)
    elif artifact.model in MODELS:
        weights = RANDOM_WEIGHTS if source.is_random else source.weights
        request = ExportRequest(model=artifact.model, weights=weights, seed=source.seed, image_size=arch.image_size)
    else:
        return None
    try:
        loaded = read_and_prepare(request, Silent())
    except VitEdgeError:
        if checkpoint is not None:
            raise
        return None
    if (loaded.source.sha256, loaded.architecture) != (source.sha256, arch):
        if checkpoint is not None:
            raise ContenderError(checkpoint, f"is not what {artifact.model} was exported from", "give that one")
        return None
    return loaded.state


def _trace(source: Source, artifact: Artifact, target: Path) -> None:
    import torch

    from vit_bench.measure.torch_model import load_model

    model, _ = load_model(artifact.architecture, Path(source.folder, "weights.safetensors"))
    size = artifact.architecture.image_size
    example = torch.zeros(source.batch, 3, size, size)
    torch.onnx.export(model, (example,), target, dynamo=True, external_data=False, verbose=False)


def _quantize_dynamic(source: Source, artifact: Artifact, target: Path) -> None:  # noqa: ARG001 - one kind of function
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(Path(source.folder, "traced.onnx"), target, weight_type=QuantType.QInt8, per_channel=True)


def _quantize_nncf(source: Source, artifact: Artifact, target: Path) -> None:
    import nncf
    import openvino
    import torch

    from vit_bench.measure.torch_model import normalise, prepare
    from vit_export.int8.natural_pictures import noise_pictures
    from vit_runtime.pictures.finding import find_pictures
    from vit_runtime.pictures.reading import read_rgb

    preprocessing = artifact.preprocessing
    if source.calibrate is None:
        pixels = noise_pictures(artifact.architecture.image_size, _CALIBRATION_PICTURES)
        photos = [normalise(picture, preprocessing) for picture in pixels]
    else:
        paths = find_pictures([Path(source.calibrate)])[:_CALIBRATION_PICTURES]
        photos = [prepare(read_rgb(path), preprocessing) for path in paths]
    batches = [torch.stack([photo] * source.batch).numpy() for photo in photos]
    quantized = nncf.quantize(
        openvino.convert_model(Path(source.folder, "traced.onnx")),
        nncf.Dataset(batches),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )
    openvino.save_model(quantized, target)


if __name__ == "__main__":
    work_as_told(Recipe, make)
