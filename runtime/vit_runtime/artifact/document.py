"""The metadata that makes an ONNX file a vit-edge artifact; `models/README.md` is its specification.

The metadata is one JSON document under the key `vit_edge` of the file's `metadata_props`. Export writes it and the
runtime reads it through the same frozen dataclasses, so the two cannot drift apart.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final, Literal

from vit_runtime.artifact import codec
from vit_runtime.artifact.architecture import Architecture
from vit_runtime.artifact.head import Head
from vit_runtime.artifact.preprocessing import Preprocessing
from vit_runtime.artifact.quantization import Quantization, check_quantization
from vit_runtime.artifact.source import Assumption, Source
from vit_runtime.artifact.verification import Output, SelfTest, Verification

METADATA_KEY: Final = "vit_edge"
FORMAT_VERSION: Final = 5
_LONGEST_NAME: Final = 255
"""Most bytes that common file systems take in a file's name."""

Precision = Literal["fp32", "int8", "fp16"]
Target = Literal["cpu", "gpu", "openvino", "portable"]
"""Which operators the graph uses: those that onnxruntime is fastest with on a CPU or on CUDA, or standard ones only."""
HeadFusion = Literal["mean", "max", "min"]


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How attention is rolled out (Abnar and Zuidema 2020); `vit_export.write.rollout` has the formula."""

    head_fusion: HeadFusion
    discard_ratio: float
    """Share of each token's attention weights that is set to zero, the smallest first; the paper's is 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.discard_ratio < 1:
            raise ValueError(f"discard_ratio {self.discard_ratio} should be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class ExternalData:
    """The file of weights beside a model above 2 GB, which protobuf cannot hold."""

    file: str
    """The file's name, without a folder: the file lies beside the model."""
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.file in ("", ".", "..") or any(letter in self.file for letter in "/\\:\0"):
            raise ValueError(f"file {self.file[:80]!r} is no plain file name")
        if len(self.file.encode()) > _LONGEST_NAME:  # `encode` also refuses broken text, by a ValueError
            raise ValueError(f"file {self.file[:20]!r}... has more than {_LONGEST_NAME} bytes")
        if self.bytes < 0:
            raise ValueError(f"bytes is {self.bytes}, should be at least 0")


@dataclass(frozen=True, kw_only=True)
class Description:
    """The facts about an artifact that are known before its graph is written and measured."""

    format_version: int
    producer: str
    model: str
    source: Source
    architecture: Architecture
    preprocessing: Preprocessing
    assumptions: tuple[Assumption, ...]
    labels: tuple[str, ...] | None
    head: Head | None
    """Where the classes come from; None where there are none."""
    outputs: tuple[Output, ...]
    rollout: Rollout | None
    """How attention is rolled out; None where the graph has no output "rollout"."""
    precision: Precision
    target: Target

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != self.architecture.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.architecture.classes} classes")
        size = self.architecture.image_size
        if self.preprocessing.crop_hw != (size, size):
            raise ValueError(f"crop_hw {self.preprocessing.crop_hw} does not fit image_size {size}")
        if ("rollout" in self.outputs) != (self.rollout is not None):
            raise ValueError("output rollout and key rollout do not go together")
        if ("logits" in self.outputs) != (self.architecture.classes > 0):
            raise ValueError(f"outputs {', '.join(self.outputs)} with {self.architecture.classes} classes")
        if (self.head is not None) != (self.architecture.classes > 0):
            raise ValueError(f"{'no' if self.head is None else 'a'} head with {self.architecture.classes} classes")
        self._check_classes()

    def _check_classes(self) -> None:
        """Checks that a head's own list of classes is as long as the head."""
        head = self.head
        if head is None:
            return
        classes = self.architecture.classes
        if head.texts is not None and len(head.texts.prompts) != classes:
            raise ValueError(f"prompts of {len(head.texts.prompts)} classes for {classes}")
        if head.texts is not None and self.labels is None:
            raise ValueError("classes from texts without labels")
        if head.examples is None:
            if self.architecture.unknown_rows:
                raise ValueError("unknown_rows without examples")
            return
        if head.examples.classes != classes or self.labels is None:
            raise ValueError(f"examples of {head.examples.classes} classes for {classes}, which need labels")
        if (head.examples.unknown is not None) != (self.architecture.unknown_rows > 0):
            raise ValueError("unknown and unknown_rows do not go together")

    def shape(self, output: Output) -> tuple[int, ...]:
        """Gives the shape of an output for one picture."""
        arch = self.architecture
        shapes: dict[Output, tuple[int, ...]] = {
            "logits": (arch.classes,),
            "embedding": (arch.embedding_width,),
            "rollout": (arch.grid, arch.grid),
        }
        return shapes[output]

    def to_json(self) -> str:
        """The document as it goes into a file."""
        return json.dumps(codec.encode(self), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Artifact(Description):
    """Everything that an artifact says about itself; a file holds it only when its export is finished."""

    quantization: Quantization | None
    """How the graph was quantized; None unless the precision is int8."""
    external_data: ExternalData | None
    verification: Verification
    self_test: SelfTest

    def __post_init__(self) -> None:
        super().__post_init__()
        check_quantization(self.precision, self.quantization)
        if [check.output for check in self.verification.outputs] != [*self.outputs]:
            raise ValueError("verification.outputs should be those of the graph, in the same order")
        found_values = [(answer.output, len(answer.values)) for answer in self.self_test.outputs]
        lengths = [(output, math.prod(self.shape(output))) for output in self.outputs]
        if found_values != lengths:
            raise ValueError(f"self_test has {dict(found_values) or 'no'} values, should have {dict(lengths)}")
