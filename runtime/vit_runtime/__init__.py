"""Runs a Vision Transformer from one ONNX file: NumPy, Pillow and onnxruntime, no torch.

>>> import vit_runtime as vit
>>> model = vit.load("models/vit_b_16.onnx")  # doctest: +SKIP
>>> model.classify("dog.jpg", top_k=5)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from vit_runtime.answers import Answer
from vit_runtime.artifact import Artifact, read_artifact
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
    "UsageError",
    "ViT",
    "VitEdgeError",
    "__version__",
    "check",
    "create_index",
    "load",
    "load_pixels",
    "open_index",
    "prepare",
    "read_artifact",
]

_SEARCHING = ("Index", "Match", "create_index", "open_index")


def __getattr__(name: str) -> object:
    """Imports what few programs need when it is asked for."""
    if name not in _SEARCHING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vit_runtime.searching import index

    return getattr(index, name)
