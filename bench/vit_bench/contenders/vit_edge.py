"""An artifact in `vit_runtime`: the contender that is ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

import vit_runtime
from vit_bench.contenders.engine import TOP, Engine, Run
from vit_bench.contenders.task import Task
from vit_runtime.artifact import Output
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.providers import Provider
from vit_runtime.pictures.preprocess import load_pixels


def load(task: Task) -> Engine:
    """Loads an artifact."""
    return _VitEdge(task)


class _VitEdge:
    """An artifact, loaded."""

    def __init__(self, task: Task) -> None:
        threads = task.threads if task.provider == "cpu" else None
        self._model = vit_runtime.load(task.file, provider=cast("Provider", task.provider), threads=threads)
        self._outputs: list[Output] = ["logits" if "logits" in self._model.artifact.outputs else "embedding"]
        self.version = f"onnxruntime {import_onnxruntime().__version__}"
        self.detail = "; ".join(filter(None, (self._model.provider, self._model.note)))

    def prepared(self, photo: Path, batch: int) -> Run:
        pixels = np.repeat(load_pixels(photo, self._model.artifact.preprocessing)[None], batch, axis=0)
        return lambda: self._model.run(pixels, self._outputs)[0]

    def answer(self, photo: Path) -> Sequence[str]:
        if self._outputs == ["embedding"]:
            self._model.embed(photo)
            return ()
        return [prediction.label for prediction in self._model.classify(photo, top_k=TOP)]
