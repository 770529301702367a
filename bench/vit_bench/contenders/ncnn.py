"""ncnn in float32, converted by pnnx from PyTorch's model; its wheels hold no tool that makes int8."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np

from vit_bench.contenders.engine import Engine, FloatPixels, Scores
from vit_bench.contenders.source import WEIGHTS, Source
from vit_bench.contenders.task import Task
from vit_bench.errors import ContenderError
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact


def load(task: Task) -> Engine:
    """Loads the model."""
    return _Ncnn(task)


class _Ncnn(FloatPixels):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import ncnn

        if task.batch > 1:
            raise ContenderError(task.tool, "takes one picture at a time")
        self._as_matrix = ncnn.Mat
        self._net = ncnn.Net()
        self._net.opt.num_threads = task.threads
        weights = str(Path(task.file).with_suffix(".bin"))
        if self._net.load_param(task.file) or self._net.load_model(weights):
            raise ContenderError(task.tool, f"cannot load {task.file}")
        self.version = f"ncnn {version('ncnn')}"

    def _scores(self, pixels: FloatArray) -> Scores:
        extractor = self._net.create_extractor()
        extractor.input("in0", self._as_matrix(pixels[0]))
        _, scores = extractor.extract("out0")
        return cast("Scores", np.array(scores)[None])


def make(file: str, source: Source, artifact: Artifact, target: Path) -> None:  # noqa: ARG001 - one kind of function
    """Converts the model, with its weights in float32; pnnx would halve them otherwise."""
    import pnnx
    import torch

    from vit_bench.contenders.torch_model import load_model

    model, _ = load_model(artifact.architecture, Path(source.folder, WEIGHTS))
    size = artifact.architecture.image_size
    pnnx.export(model.eval(), str(target.with_name("made.pt")), (torch.zeros(1, 3, size, size),), fp16=False)
    target.with_name("made.ncnn.param").rename(target)
    target.with_name("made.ncnn.bin").rename(target.with_suffix(".bin"))
    for beside in (*target.parent.glob("made.*"), *target.parent.glob("made_*")):
        beside.unlink()
