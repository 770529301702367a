"""Reads and checks what an artifact says about itself; `models/README.md` is the specification of artifacts."""

from vit_runtime.artifact.architecture import LARGEST_IMAGE, Architecture, Pooling
from vit_runtime.artifact.document import (
    FORMAT_VERSION,
    METADATA_KEY,
    Artifact,
    Description,
    ExternalData,
    HeadFusion,
    Precision,
    Rollout,
    Target,
)
from vit_runtime.artifact.preprocessing import LARGEST_EDGE, Interpolation, Preprocessing
from vit_runtime.artifact.quantization import Agreement, Calibration, LayerLoss, OutputAgreement, Quantization
from vit_runtime.artifact.reading import as_path, read_artifact
from vit_runtime.artifact.source import Assumption, Family, Source
from vit_runtime.artifact.verification import Output, OutputCheck, Reading, SelfTest, StoredAnswer, Verification

__all__ = [
    "FORMAT_VERSION",
    "LARGEST_EDGE",
    "LARGEST_IMAGE",
    "METADATA_KEY",
    "Agreement",
    "Architecture",
    "Artifact",
    "Assumption",
    "Calibration",
    "Description",
    "ExternalData",
    "Family",
    "HeadFusion",
    "Interpolation",
    "LayerLoss",
    "Output",
    "OutputAgreement",
    "OutputCheck",
    "Pooling",
    "Precision",
    "Preprocessing",
    "Quantization",
    "Reading",
    "Rollout",
    "SelfTest",
    "Source",
    "StoredAnswer",
    "Target",
    "Verification",
    "as_path",
    "read_artifact",
]
