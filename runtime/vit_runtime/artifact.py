"""The metadata that makes an ONNX file a vit-edge artifact; `models/README.md` is its specification.

One JSON document under the key `vit_edge` of the file's `metadata_props`. Export writes it and the runtime
reads it through the same frozen dataclasses, so the two cannot drift apart.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NoReturn

from vit_runtime import codec
from vit_runtime.digest import DIGEST_KEY
from vit_runtime.errors import ArtifactError
from vit_runtime.external_tensors import check_external_data
from vit_runtime.measured import Output, Quantization, SelfTest, Verification
from vit_runtime.onnx_file import read_metadata

METADATA_KEY: Final = "vit_edge"
FORMAT_VERSION: Final = 4
LARGEST_IMAGE: Final = 2048
"""Height and width of a model's input in pixels: with patches of 16, one layer's attention weights take 13 GB then."""
LARGEST_EDGE: Final = 4096
"""Pixels of an edge that a picture may be scaled to before it is cropped."""
_SIZES: Final = {
    "image_size": (1, LARGEST_IMAGE),
    "patch_size": (1, LARGEST_IMAGE),
    "layers": (1, 1_000),
    "heads": (1, 1 << 16),
    "width": (1, 1 << 16),
    "mlp_width": (1, 1 << 18),
    "classes": (0, 1 << 20),
    "registers": (0, 1 << 12),
}
"""Least and most: far above every published model, too little for a number in a file to ask for all of the memory."""

_LEAST_STD: Final = 1e-6
"""Below, float32 has no room for what is divided by it."""
_LONGEST_NAME: Final = 255
"""Bytes of a file's name: the most that common file systems take."""

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Precision = Literal["fp32", "int8", "fp16"]
Target = Literal["cpu", "gpu", "portable"]
"""Which operators the graph uses: those that onnxruntime is fastest with on a CPU or on CUDA, or standard ones only."""
Family = Literal["torchvision", "timm", "huggingface"]
"""Whose Vision Transformer a checkpoint is."""
Pooling = Literal["class_token", "class_and_distillation_token", "class_token_and_patch_mean", "patch_mean"]
"""What the head reads. Of the first three the embedding is the class token, of the last the mean."""
HeadFusion = Literal["mean", "max", "min"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the weights come from."""

    family: Family
    weights: str
    """Name of the published weights entry or repository, name of the checkpoint file or folder, or "random"."""
    sha256: str | None
    """Digest of the checkpoint file, of several one after the other; None for random weights."""
    licence: str | None
    seed: int | None
    """Seed of random weights, whose answers mean nothing; None for real ones."""

    @property
    def is_random(self) -> bool:
        """Whether the weights were never trained."""
        return self.seed is not None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A Vision Transformer's sizes, with the names of the paper (Dosovitskiy et al. 2021, section 3.1), and its kind.

    What leaves no trace in the graph is no field: LayerScale is folded into the layers in front of it, and a missing
    bias is one of zeros.
    """

    image_size: int
    patch_size: int
    layers: int
    heads: int
    width: int
    mlp_width: int
    classes: int
    """0 without a classification head."""
    layer_norm_eps: float
    gelu: Literal["erf", "tanh"] = "erf"
    class_token: bool = True
    distillation_token: bool = False
    """DeiT's second token, behind the class token (Touvron et al. 2021)."""
    registers: int = 0
    """Tokens in front of the patches that stand for no patch (Darcet et al. 2024)."""
    pooling: Pooling = "class_token"
    norm_after_pooling: bool = False
    """Whether the last LayerNorm comes after the mean, not before it."""

    def __post_init__(self) -> None:
        for name, (least, most) in _SIZES.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, should be at least {least}")
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}, should be at most {most}")
        if not 0 <= self.layer_norm_eps < 1:
            raise ValueError(f"layer_norm_eps is {self.layer_norm_eps}, should be from 0 to below 1")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        self._check_pooling()

    def _check_pooling(self) -> None:
        if not self.class_token and self.pooling != "patch_mean":
            raise ValueError(f"pooling {self.pooling} without a class token")
        if self.pooling == "class_and_distillation_token" and not self.distillation_token:
            raise ValueError(f"pooling {self.pooling} without a distillation token")
        if self.norm_after_pooling and self.pooling != "patch_mean":
            raise ValueError(f"norm_after_pooling with pooling {self.pooling}")

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def prefix(self) -> int:
        """Tokens in front of the patches: class token, distillation token, registers, in this order."""
        return self.class_token + self.distillation_token + self.registers

    @property
    def tokens(self) -> int:
        """Length of the token sequence."""
        return self.prefix + self.grid**2

    @property
    def head_width(self) -> int:
        """Length of the vector that the head reads."""
        return self.width * (2 if self.pooling in ("class_and_distillation_token", "class_token_and_patch_mean") else 1)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How attention is rolled out (Abnar and Zuidema 2020); `vit_export.rollout` has the formula."""

    head_fusion: HeadFusion
    discard_ratio: float
    """Share of each token's attention weights, the smallest, that is set to zero; 0 is the paper's."""

    def __post_init__(self) -> None:
        if not 0 <= self.discard_ratio < 1:
            raise ValueError(f"discard_ratio {self.discard_ratio} should be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a photo to the model's pixels: resize, then centre crop; exactly one resize rule is set."""

    resize_shortest_edge: int | None
    """Scale the picture, keeping its proportions, until its shorter edge has this many pixels."""
    resize_hw: tuple[int, int] | None
    """Scale the picture to this height and width, whatever its proportions."""
    crop_hw: tuple[int, int]
    crop_rounding: Literal["half_even", "down"]
    """Where the middle lies between two pixels: torchvision rounds halves to even, Hugging Face down."""
    interpolation: Interpolation
    mean: tuple[float, float, float]
    """Per RGB channel, on a scale of 0 to 1; folded into the graph, stored for the record."""
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if (self.resize_shortest_edge is None) == (self.resize_hw is None):
            raise ValueError("exactly one of resize_shortest_edge and resize_hw should be set")
        resize = self.resize_hw or (self.resize_shortest_edge,)
        sizes = [size for size in (*resize, *self.crop_hw) if size is not None]
        if min(sizes) < 1:
            raise ValueError("sizes should be at least 1 pixel")
        if max(sizes) > LARGEST_EDGE:
            raise ValueError(f"sizes should be at most {LARGEST_EDGE} pixels, found {max(sizes)}")
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError(f"mean {self.mean} and std {self.std} should be finite")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} should be above zero")
        if min(self.std) < _LEAST_STD or max(map(abs, (*self.mean, *self.std))) > 1 / _LEAST_STD:
            raise ValueError(f"mean {self.mean} and std {self.std} are of no pictures from 0 to 1")

    def __str__(self) -> str:
        edge, (height, width) = self.resize_shortest_edge, self.crop_hw
        exact = "" if self.resize_hw is None else f"to {self.resize_hw[0]}x{self.resize_hw[1]} (height x width)"
        resize = exact or f"the shortest edge to {edge}"
        return f"resize {resize} ({self.interpolation}), crop {height}x{width}, mean {self.mean}, std {self.std}"


@dataclass(frozen=True, kw_only=True)
class ExternalData:
    """The file of weights beside a model above 2 GB, which protobuf cannot hold."""

    file: str
    """Its name, without a folder: it lies beside the model."""
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.file in ("", ".", "..") or any(letter in self.file for letter in "/\\:\0"):
            raise ValueError(f"file {self.file[:80]!r} is no plain file name")
        if len(self.file.encode()) > _LONGEST_NAME:  # also refuses what is no text, by a ValueError
            raise ValueError(f"file {self.file[:20]!r}... has more than {_LONGEST_NAME} bytes")
        if self.bytes < 0:
            raise ValueError(f"bytes is {self.bytes}, should be at least 0")


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Something that the checkpoint does not say and no comparison with a model built on it can find wrong."""

    subject: Literal["heads", "gelu", "preprocessing"]
    value: str
    """What was taken, in words."""
    basis: str
    """Why: a rule of thumb, a file's name, an option of the user's."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Everything that an artifact says about itself."""

    format_version: int
    producer: str
    model: str
    source: Source
    architecture: Architecture
    preprocessing: Preprocessing
    assumptions: tuple[Assumption, ...]
    labels: tuple[str, ...] | None
    outputs: tuple[Output, ...]
    rollout: Rollout | None
    """None without the output of that name."""
    precision: Precision
    target: Target
    quantization: Quantization | None
    """None unless the precision is int8."""
    external_data: ExternalData | None
    verification: Verification | None
    """None only while an export is under way: a file without it is refused."""
    self_test: SelfTest | None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != self.architecture.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.architecture.classes} classes")
        finished = self.verification is not None
        if finished and (self.quantization is None) == (self.precision == "int8"):
            found = "without a" if self.quantization is None else "with a"
            raise ValueError(f"precision {self.precision} {found} quantization block")
        size = self.architecture.image_size
        if self.preprocessing.crop_hw != (size, size):
            raise ValueError(f"crop_hw {self.preprocessing.crop_hw} does not fit image_size {size}")
        if ("rollout" in self.outputs) != (self.rollout is not None):
            raise ValueError("output rollout and key rollout do not go together")
        if ("logits" in self.outputs) != (self.architecture.classes > 0):
            raise ValueError(f"outputs {', '.join(self.outputs)} with {self.architecture.classes} classes")
        if self.verification is not None and [check.output for check in self.verification.outputs] != [*self.outputs]:
            raise ValueError("verification.outputs should be those of the graph, in the same order")
        if self.self_test is not None:
            self._check_self_test(self.self_test)

    def _check_self_test(self, self_test: SelfTest) -> None:
        found = [(answer.output, len(answer.values)) for answer in self_test.outputs]
        lengths = [(output, math.prod(self.shape(output))) for output in self.outputs]
        if found != lengths:
            raise ValueError(f"self_test has {dict(found) or 'no'} values, should have {dict(lengths)}")

    def shape(self, output: Output) -> tuple[int, ...]:
        """The shape of an output for one picture."""
        arch = self.architecture
        shapes: dict[Output, tuple[int, ...]] = {
            "logits": (arch.classes,),
            "embedding": (arch.width,),
            "rollout": (arch.grid, arch.grid),
        }
        return shapes[output]

    def to_json(self) -> str:
        """The document that goes into the file."""
        return json.dumps(codec.encode(self), ensure_ascii=False)


def read_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Reads and checks what an artifact says about itself, without loading its weights.

    Raises:
        ArtifactError: no such file, no ONNX file, no vit-edge metadata, an unknown format version, a broken
            document, an unfinished export, a file of weights that is missing or of another size, or tensors that lie
            elsewhere than the metadata says.
    """
    path = as_path(path)
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise ArtifactError(
            path,
            "an ONNX file without vit-edge metadata",
            "export the model with vit-export, not another tool",
        )
    artifact = _parse_document(metadata[METADATA_KEY], path)
    if DIGEST_KEY not in metadata:
        raise ArtifactError(path, "incomplete: it ends before its digest", "copy or export the file again")
    if artifact.verification is None or artifact.self_test is None:
        raise ArtifactError(path, "its export did not finish", "export it again")
    check_external_data(path, artifact.external_data)
    return artifact


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path of an artifact.

    Raises:
        ArtifactError: it is none.
    """
    try:
        return Path(path)
    except TypeError:
        raise ArtifactError(repr(path)[:80], "is no path", "give a str or a pathlib.Path") from None


def _parse_document(text: str, path: Path) -> Artifact:
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"its metadata is no JSON ({error})", "export it again") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        raise ArtifactError(
            path,
            f"has format version {repr(version)[:40]}, and this vit-edge reads version {FORMAT_VERSION}",
            "export the model again" if older else "upgrade vit-edge on this machine, or export the model again",
        )
    try:
        return codec.decode(Artifact, document, METADATA_KEY)
    except codec.SchemaError as error:
        raise ArtifactError(path, f"its metadata is broken: {error}", "export it again") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")
