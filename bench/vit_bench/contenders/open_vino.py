"""OpenVINO on its own format (IR), converted from the traced graph, tuned for latency.

Four contenders: float32 and bfloat16, and NNCF's post-training int8 with its float operators in either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

from vit_bench.contenders.engine import Engine, FloatPixels, Scores
from vit_bench.contenders.source import Source, calibration_pictures, note_calibration
from vit_bench.contenders.task import Task
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact

_PRECISIONS: Final = {
    "openvino": "f32",
    "openvino-bf16": "bf16",
    "openvino-int8": "f32",
    "openvino-int8-bf16": "bf16",
}
"""Precision of float operators. Left alone, OpenVINO takes bfloat16 where the processor has it."""


def load(task: Task) -> Engine:
    """Loads one of the four."""
    return _OpenVino(task)


class _OpenVino(FloatPixels):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import openvino

        core = openvino.Core()
        config: dict[str, str | int] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": task.threads,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[task.tool],
        }
        model = core.compile_model(task.file, "CPU", config)
        self._request = model.create_infer_request()
        self.version = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        self.detail = f"float operators in {model.get_property('INFERENCE_PRECISION_HINT').get_type_name()}"

    def _scores(self, pixels: FloatArray) -> Scores:
        return cast("Scores", self._request.infer({0: pixels})[0])


def make(file: str, source: Source, artifact: Artifact, target: Path) -> None:
    """Makes a model in OpenVINO's format."""
    import openvino

    model = openvino.convert_model(Path(source.folder, "traced.onnx"))
    if file == "nncf.xml":
        model = _quantize(model, source, artifact, target)
    openvino.save_model(model, target)


def _quantize(model: object, source: Source, artifact: Artifact, target: Path) -> object:
    """Quantizes as NNCF's documentation says for transformers, on every picture."""
    import nncf
    import torch

    from vit_bench.contenders.torch_model import normalise

    photos = [normalise(picture, artifact.preprocessing) for picture in calibration_pictures(source, artifact)]
    batches = [torch.stack([photo] * source.batch).numpy() for photo in photos]
    note_calibration(source, len(batches), target)
    return nncf.quantize(model, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches))
