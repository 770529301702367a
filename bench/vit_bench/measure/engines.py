"""The contenders at work: one class each, in a process of its own. Each imports only what it needs.

All prepare the same pixels. PyTorch does it with torchvision's transforms, as its users do; the other peers with Pillow
and NumPy, which is the least that a hand-written script needs, and quicker than importing torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np

import vit_runtime
from vit_bench.measure.task import Task
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact, Output, read_artifact
from vit_runtime.devices.memory import return_large_blocks_at_once, reuse_large_blocks
from vit_runtime.devices.providers import Provider
from vit_runtime.devices.session import import_onnxruntime
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.pictures.reading import read_rgb

if TYPE_CHECKING:
    import torch

Scores = FloatArray
"""float32 (N, classes): logits, or the embedding (N, width) of a model without a head."""
Run = Callable[[], Scores]

TOP: Final = 5


class Engine(Protocol):
    """A contender, loaded."""

    version: str
    detail: str

    def prepared(self, photo: Path, batch: int) -> Run:
        """The model alone, on a photo's pixels, `batch` times the same one."""

    def answer(self, photo: Path) -> Sequence[str]:
        """The whole way from a file to the names of the likeliest classes."""


def load(task: Task) -> Engine:
    """Loads a task's contender."""
    return _ENGINES[task.tool.partition("-")[0]](task)


class _VitEdge:
    """An artifact in `vit_runtime`."""

    def __init__(self, task: Task) -> None:
        on_cpu = task.provider in ("auto", "cpu")
        return_large_blocks_at_once()  # as vit-run does, before loading and after
        self._model = vit_runtime.load(
            task.file, provider=cast("Provider", task.provider), threads=task.threads if on_cpu else None
        )
        reuse_large_blocks()
        self._outputs: list[Output] = ["logits" if "logits" in self._model.artifact.outputs else "embedding"]
        runtime = import_onnxruntime()
        self.version = f"onnxruntime {runtime.__version__}"
        self.detail = "; ".join(filter(None, (self._model.provider, self._model.note)))

    def prepared(self, photo: Path, batch: int) -> Run:
        pixels = np.repeat(load_pixels(photo, self._model.artifact.preprocessing)[None], batch, axis=0)
        return lambda: self._model.run(pixels, self._outputs)[0]

    def answer(self, photo: Path) -> Sequence[str]:
        if self._outputs == ["embedding"]:
            self._model.embed(photo)
            return ()
        return [prediction.label for prediction in self._model.classify(photo, top_k=TOP)]


class _Torch:
    """PyTorch: torchvision's own model where it can be that, its transforms, softmax and top five."""

    def __init__(self, task: Task) -> None:
        import torch

        from vit_bench.measure.torch_model import load_model, prepare

        torch.set_num_threads(task.threads)
        self._torch = torch
        self._prepare = prepare
        self._artifact = read_artifact(task.artifact)
        self._dtype = torch.bfloat16 if task.tool == "torch-bf16" else torch.float32
        model, self.detail = load_model(self._artifact.architecture, Path(task.file), self._dtype)
        self._model: Callable[[torch.Tensor], torch.Tensor] = (
            torch.compile(model) if task.tool == "torch-compile" else model
        )
        self.version = f"torch {torch.__version__}"

    def prepared(self, photo: Path, batch: int) -> Run:
        pixels = self._pixels(photo).repeat(batch, 1, 1, 1)
        return lambda: cast("Scores", self._scores(pixels).numpy())

    def answer(self, photo: Path) -> Sequence[str]:
        scores = self._scores(self._pixels(photo))
        _, indices = scores.softmax(-1).topk(min(TOP, scores.shape[-1]))
        return _labels(self._artifact, indices[0].tolist())

    def _pixels(self, photo: Path) -> torch.Tensor:
        """float32 or bfloat16 (1, 3, H, W)."""
        return self._prepare(read_rgb(photo), self._artifact.preprocessing)[None].to(self._dtype)

    def _scores(self, pixels: torch.Tensor) -> torch.Tensor:
        with self._torch.inference_mode():
            return self._model(pixels).float()


class _FloatPixels(ABC):
    """What contenders have in common that take normalised float pixels (N, 3, H, W) and give scores."""

    def __init__(self, task: Task) -> None:
        self._artifact = read_artifact(task.artifact)

    @abstractmethod
    def _scores(self, pixels: FloatArray) -> Scores:
        """The model alone."""

    def prepared(self, photo: Path, batch: int) -> Run:
        pixels = np.repeat(self._pixels(photo), batch, axis=0)
        return lambda: self._scores(pixels)

    def answer(self, photo: Path) -> Sequence[str]:
        scores = self._scores(self._pixels(photo))
        odds = np.exp(scores[0] - scores[0].max())
        odds /= odds.sum()
        return _labels(self._artifact, np.argsort(-odds)[:TOP].tolist())

    def _pixels(self, photo: Path) -> FloatArray:
        """float32 (1, 3, H, W)."""
        preprocessing = self._artifact.preprocessing
        mean, std = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
        values = (load_pixels(photo, preprocessing) / np.float32(255) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


class _OnnxRuntime(_FloatPixels):
    """Plain onnxruntime, as a script would use it."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = task.threads
        self._session = runtime.InferenceSession(task.file, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.version = f"onnxruntime {runtime.__version__}"
        self.detail = ""

    def _scores(self, pixels: FloatArray) -> Scores:
        return cast("Scores", self._session.run(None, {self._input: pixels})[0])


class _OpenVino(_FloatPixels):
    """OpenVINO, tuned for latency."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import openvino

        core = openvino.Core()
        config: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": task.threads}
        # Left alone, OpenVINO computes fp32 in bfloat16 where the processor can; only int8 is left to its choice.
        precisions = {"openvino": "f32", "openvino-bf16": "bf16"}
        if task.tool in precisions:
            config["INFERENCE_PRECISION_HINT"] = precisions[task.tool]
        model = core.compile_model(core.read_model(task.file), "CPU", config)
        self._request = model.create_infer_request()
        self.version = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        self.detail = f"float operators in {model.get_property('INFERENCE_PRECISION_HINT').get_type_name()}"

    def _scores(self, pixels: FloatArray) -> Scores:
        return cast("Scores", self._request.infer({0: pixels})[0])


def _labels(artifact: Artifact, indices: Sequence[int]) -> Sequence[str]:
    if not artifact.architecture.classes:
        return ()
    return [f"class {index}" if artifact.labels is None else artifact.labels[index] for index in indices]


_ENGINES: Final[dict[str, Callable[[Task], Engine]]] = {
    "vit": _VitEdge,
    "torch": _Torch,
    "onnx": _OnnxRuntime,
    "openvino": _OpenVino,
}
"""By the first word of a tool's name."""
