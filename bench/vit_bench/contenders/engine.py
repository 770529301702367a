"""What every contender can do once it is loaded, and what those share that take normalised float pixels.

All prepare the same pixels. PyTorch does it with torchvision's transforms, as its users do; the other peers with Pillow
and NumPy, which is the least that a hand-written script needs, and quicker than importing torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from vit_bench.contenders.task import Task
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact, read_artifact
from vit_runtime.pictures.preprocess import load_pixels

Scores = FloatArray
"""float32 (N, classes): logits, or the embedding (N, width) of a model without a head."""
Run = Callable[[], Scores]

TOP: Final = 5
"""Classes that an answer names."""


class Engine(Protocol):
    """A contender, loaded."""

    version: str
    """The engine that computes, with its version: "onnxruntime 1.32.0"."""
    detail: str
    """What the engine says about how it runs, in words; may be empty."""

    def prepared(self, photo: Path, batch: int) -> Run:
        """The model alone, on a photo's pixels, `batch` times the same one."""

    def answer(self, photo: Path) -> Sequence[str]:
        """The whole way from a file to the names of the likeliest classes."""


class FloatPixels(ABC):
    """What contenders have in common that take normalised float pixels (N, 3, H, W) and give scores."""

    detail = ""

    def __init__(self, task: Task) -> None:
        self._artifact = read_artifact(task.artifact)

    @abstractmethod
    def _scores(self, pixels: FloatArray) -> Scores:
        """The model alone."""

    def prepared(self, photo: Path, batch: int) -> Run:
        """See `Engine`."""
        pixels = np.repeat(self._pixels(photo), batch, axis=0)
        return lambda: self._scores(pixels)

    def answer(self, photo: Path) -> Sequence[str]:
        """See `Engine`."""
        scores = self._scores(self._pixels(photo))
        odds = np.exp(scores[0] - scores[0].max())
        odds /= odds.sum()
        return labels(self._artifact, np.argsort(-odds)[:TOP].tolist())

    def _pixels(self, photo: Path) -> FloatArray:
        """float32 (1, 3, H, W)."""
        preprocessing = self._artifact.preprocessing
        mean, std = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
        values = (load_pixels(photo, preprocessing) / np.float32(255) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


def labels(artifact: Artifact, indices: Sequence[int]) -> Sequence[str]:
    """The names of classes; none where the model has no head."""
    if not artifact.architecture.classes:
        return ()
    return [f"class {index}" if artifact.labels is None else artifact.labels[index] for index in indices]
