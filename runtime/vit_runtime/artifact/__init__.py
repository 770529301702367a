"""Reads and checks what an artifact says about itself; `models/README.md` is the specification of artifacts."""

from vit_runtime.artifact.architecture import LARGEST_IMAGE, Activation, Architecture, Pooling, Rotary
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
from vit_runtime.artifact.examples import (
    MOST_LISTED,
    Confusion,
    Doubt,
    ExampleClasses,
    HeadMethod,
    Share,
    Twins,
    UnknownClass,
)
from vit_runtime.artifact.head import PLACE, Head, HeadOrigin, Probabilities, TextClasses
from vit_runtime.artifact.preprocessing import LARGEST_EDGE, Interpolation, Preprocessing
from vit_runtime.artifact.quantization import Agreement, Calibration, LayerLoss, OutputAgreement, Quantization
from vit_runtime.artifact.reading import as_path, read_artifact, read_text_artifact
from vit_runtime.artifact.source import Assumption, Family, Source
from vit_runtime.artifact.text_architecture import TextArchitecture, TextPooling
from vit_runtime.artifact.text_document import (
    TEXT_FORMAT_VERSION,
    TEXT_KEY,
    TextArtifact,
    TextDescription,
    TextSelfTest,
    TextVerification,
    TokenizerFacts,
)
from vit_runtime.artifact.verification import Output, OutputCheck, Reading, SelfTest, StoredAnswer, Verification

__all__ = [
    "FORMAT_VERSION",
    "LARGEST_EDGE",
    "LARGEST_IMAGE",
    "METADATA_KEY",
    "MOST_LISTED",
    "PLACE",
    "TEXT_FORMAT_VERSION",
    "TEXT_KEY",
    "Activation",
    "Agreement",
    "Architecture",
    "Artifact",
    "Assumption",
    "Calibration",
    "Confusion",
    "Description",
    "Doubt",
    "ExampleClasses",
    "ExternalData",
    "Family",
    "Head",
    "HeadFusion",
    "HeadMethod",
    "HeadOrigin",
    "Interpolation",
    "LayerLoss",
    "Output",
    "OutputAgreement",
    "OutputCheck",
    "Pooling",
    "Precision",
    "Preprocessing",
    "Probabilities",
    "Quantization",
    "Reading",
    "Rollout",
    "Rotary",
    "SelfTest",
    "Share",
    "Source",
    "StoredAnswer",
    "Target",
    "TextArchitecture",
    "TextArtifact",
    "TextClasses",
    "TextDescription",
    "TextPooling",
    "TextSelfTest",
    "TextVerification",
    "TokenizerFacts",
    "Twins",
    "UnknownClass",
    "Verification",
    "as_path",
    "read_artifact",
    "read_text_artifact",
]
