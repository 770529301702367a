"""Runs a Vision Transformer from one ONNX file: NumPy, Pillow and onnxruntime, no torch.

>>> import vit_runtime as vit
>>> model = vit.load("models/vit_b_16.onnx")  # doctest: +SKIP
>>> model.classify("dog.jpg", top_k=5)  # doctest: +SKIP
"""

from vit_runtime.answers import Answer
from vit_runtime.artifact import Artifact, read_artifact
from vit_runtime.checking import check
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import (
    ArtifactError,
    ImageError,
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

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Artifact",
    "ArtifactError",
    "AttentionMap",
    "Decode",
    "ImageError",
    "ImageSource",
    "Limits",
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
    "load",
    "load_pixels",
    "prepare",
    "read_artifact",
]
