"""What the files of the other contenders are made from: an artifact's configuration, its weights, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Artifact

FILES: Final[dict[str, str]] = {
    "weights.safetensors": "pytorch",
    "weights.bf16.safetensors": "pytorch",
    "traced.onnx": "pytorch",
    "optimized.onnx": "onnx_runtime",
    "dynamic.onnx": "onnx_runtime",
    "openvino.xml": "open_vino",
    "nncf.xml": "open_vino",
    "traced.mnn": "mnn",
    "int8.mnn": "mnn",
    "model.ncnn.param": "ncnn",
    "model.pte": "executorch",
    "int8.pte": "executorch",
}
"""Every file that can be made, and the module here that makes it."""
WEIGHTS: Final = "weights.safetensors"
"""Float32, under torchvision's names: what all other files are made from."""
ABOUT_WEIGHTS: Final = "weights.json"
"""Says whether the weights are the artifact's own."""
_NOISE_PICTURES: Final = 32


@dataclass(frozen=True, kw_only=True)
class Source:
    """What files are made from, and where."""

    artifact: str
    folder: str
    """Where they are made; those that are there already are taken."""
    checkpoint: str | None = None
    """What the artifact was exported from, in any form that `vit-export` takes."""
    calibrate: str | None = None
    """Folder of pictures to calibrate on; None for noise, which is good enough to measure speed on."""
    batch: int = 1
    """Pictures in one run, which a traced graph has built in."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One file to make: a name out of `FILES`."""

    file: str
    source: Source


def calibration_pictures(source: Source, artifact: Artifact) -> list[UInt8Array]:
    """The pictures that `vit-export --calibrate` takes from the same folder, prepared, uint8 (H, W, 3) each.

    Raises:
        CalibrationError: the folder is missing, or holds too few pictures.
    """
    from vit_export.int8.calibration_pictures import read_calibration
    from vit_export.int8.natural_pictures import noise_pictures
    from vit_export.progress import Silent

    if source.calibrate is None:
        return list(noise_pictures(artifact.architecture.image_size, _NOISE_PICTURES))
    return read_calibration(source.calibrate, artifact.preprocessing, Silent()).pixels


def note_file(model: Path) -> Path:
    """Names the file beside a model that says in a line how the model was made, where there is something to tell."""
    return model.with_name(f"{model.name}.note")


def note_calibration(source: Source, pictures: int, target: Path) -> None:
    """Writes a line on what a model was calibrated on."""
    what = "pictures" if source.calibrate is not None else "pictures of noise, for speed only"
    note_file(target).write_text(f"calibrated on {pictures} {what}", encoding="utf-8")
