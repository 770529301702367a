"""Runs a Vision Transformer from one ONNX file: NumPy, Pillow and onnxruntime, no torch.

>>> import vit_runtime as vit
>>> model = vit.load("models/vit_b_16.onnx")  # doctest: +SKIP
>>> model.classify("dog.jpg", top_k=5)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from vit_runtime.answers import Answer
from vit_runtime.artifact import Artifact, TextArtifact, read_artifact, read_text_artifact
from vit_runtime.checking import check
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import (
    ArtifactError,
    ImageError,
    IndexFileError,
    MissingDependencyError,
    OutputFileError,
    ProviderError,
    UsageError,
    VitEdgeError,
)
from vit_runtime.heatmap import AttentionMap
from vit_runtime.loading import load
from vit_runtime.model import Prediction, ViT
from vit_runtime.pictures.limits import Limits
from vit_runtime.pictures.preprocess import Decode, load_pixels
from vit_runtime.pictures.reading import ImageSource
from vit_runtime.preparing.prepare import Prepared, prepare
from vit_runtime.selftest import SelfTestResult

if TYPE_CHECKING:
    from vit_runtime.searching.index import Index, Match, create_index, open_index
    from vit_runtime.texts.model import TextCheck, TextModel, load_text

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Artifact",
    "ArtifactError",
    "AttentionMap",
    "Decode",
    "ImageError",
    "ImageSource",
    "Index",
    "IndexFileError",
    "Limits",
    "Match",
    "MissingDependencyError",
    "OutputFileError",
    "Prediction",
    "Prepared",
    "Provider",
    "ProviderError",
    "SelfTestResult",
    "TextArtifact",
    "TextCheck",
    "TextModel",
    "UsageError",
    "ViT",
    "VitEdgeError",
    "__version__",
    "check",
    "create_index",
    "load",
    "load_pixels",
    "load_text",
    "open_index",
    "prepare",
    "read_artifact",
    "read_text_artifact",
]

_LATER = {
    "vit_runtime.searching.index": ("Index", "Match", "create_index", "open_index"),
    "vit_runtime.texts.model": ("TextCheck", "TextModel", "load_text"),
}
"""Names by their module."""


def __getattr__(name: str) -> object:
    """Imports what few programs need when it is asked for."""
    for module, names in _LATER.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
