"""The metadata that makes an ONNX file a vit-edge artifact; `models/README.md` is its specification.

One JSON document under the key `vit_edge` of the file's `metadata_props`. Export writes it and the runtime
reads it through the same frozen dataclasses, so the two cannot drift apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vit_runtime import codec
from vit_runtime.errors import ArtifactError
from vit_runtime.onnx_file import read_metadata

METADATA_KEY: Final = "vit_edge"
FORMAT_VERSION: Final = 2

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Precision = Literal["fp32", "int8", "fp16"]
Target = Literal["cpu", "gpu", "portable"]
"""Which operators the graph uses: those that onnxruntime is fastest with on a CPU or on CUDA, or standard ones only."""
Output = Literal["logits", "embedding"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the weights come from."""

    family: Literal["torchvision"]
    weights: str
    """Name of the published weights entry, name of the checkpoint file, or "random"."""
    sha256: str | None
    """Digest of the checkpoint file; None for random weights."""
    licence: str | None
    seed: int | None
    """Seed of random weights, whose answers mean nothing; None for real ones."""

    @property
    def is_random(self) -> bool:
        """Whether the weights were never trained."""
        return self.seed is not None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A Vision Transformer's sizes, with the names of the paper (Dosovitskiy et al. 2021, section 3.1)."""

    image_size: int
    patch_size: int
    layers: int
    heads: int
    width: int
    mlp_width: int
    classes: int
    layer_norm_eps: float

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "layers", "heads", "width", "mlp_width", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, should be at least 1")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Length of the token sequence: the class token and one token a patch."""
        return 1 + self.grid**2


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a photo to the model's pixels: resize, then centre crop; exactly one resize rule is set."""

    resize_shortest_edge: int | None
    """Scale the picture, keeping its proportions, until its shorter edge has this many pixels."""
    resize_hw: tuple[int, int] | None
    """Scale the picture to this height and width, whatever its proportions."""
    crop_hw: tuple[int, int]
    interpolation: Interpolation
    mean: tuple[float, float, float]
    """Per RGB channel, on a scale of 0 to 1; folded into the graph, stored for the record."""
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if (self.resize_shortest_edge is None) == (self.resize_hw is None):
            raise ValueError("exactly one of resize_shortest_edge and resize_hw should be set")
        resize = self.resize_hw or (self.resize_shortest_edge,)
        if min(size for size in (*resize, *self.crop_hw) if size is not None) < 1:
            raise ValueError("sizes should be at least 1 pixel")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} should be above zero")

    def __str__(self) -> str:
        edge, (height, width) = self.resize_shortest_edge, self.crop_hw
        exact = "" if self.resize_hw is None else f"to {self.resize_hw[0]}x{self.resize_hw[1]} (height x width)"
        resize = exact or f"the shortest edge to {edge}"
        return f"resize {resize} ({self.interpolation}), crop {height}x{width}, mean {self.mean}, std {self.std}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the export measured against PyTorch, on pictures made by formula, before the file was written."""

    reference: str
    """Packages and versions that gave the reference answers."""
    runtime: str
    """Package, version and execution provider that was verified."""
    remark: str
    """What could not be checked on the machine that exported; empty where everything was."""
    pictures: int
    same_top1: int
    same_pixels: int
    """Pictures whose preprocessed bytes equal the reference's."""
    max_logit_difference: float
    max_embedding_difference: float
    min_logit_cosine: float
    """Of the picture that came out worst."""
    min_embedding_cosine: float
    logit_tolerance: float | None
    """Limit of the largest difference; None where the precision is held to a cosine."""
    embedding_tolerance: float | None
    cosine_limit: float | None
    """Limit of both cosines; None where the precision is held to differences."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The pictures that decided the ranges of static quantization."""

    pictures: int
    skipped: int
    """Files that could not be read."""
    sha256: str
    """Digest of the prepared pixels, in order."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The int8 graph against the same model's float32 graph, on the calibration pictures."""

    same_top1: int
    mean_logit_cosine: float
    min_logit_cosine: float
    mean_embedding_cosine: float
    min_embedding_cosine: float
    max_logit_difference: float
    max_embedding_difference: float


@dataclass(frozen=True, kw_only=True)
class LayerLoss:
    """What one linear layer loses by quantization."""

    layer: str
    """Path of the layer in the graph."""
    sqnr_db: float
    """Power of its output over the power of the error that int8 weights and inputs make in it."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How an int8 graph was made, and what that cost."""

    scheme: Literal["static", "dynamic"]
    weights: Literal["int8 per output channel"]
    activations: str
    """In words: what is uint8 or int8, and where its scales come from."""
    kept_float: tuple[str, ...]
    """Linear layers left in float32."""
    float32_bytes: int
    """Size of the same model in float32."""
    calibration: Calibration | None
    """None for dynamic quantization."""
    agreement: Agreement | None
    sensitivity: tuple[LayerLoss, ...]
    """Every linear layer that was calibrated, the one that loses most first."""


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Answers for a picture that any machine can make; see `vit_runtime.selftest`."""

    formula: Literal["waves"]
    pixels_sha256: str
    """Digest of the formula's photo after preprocessing."""
    answers: Literal["reference", "export"]
    """Whose logits these are: PyTorch's in fp32, or those of this very file as it was verified."""
    logits: tuple[float, ...]
    embedding: tuple[float, ...]
    logit_tolerance: float
    embedding_tolerance: float


@dataclass(frozen=True, kw_only=True)
class ExternalData:
    """The file of weights beside a model above 2 GB, which protobuf cannot hold."""

    file: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Everything that an artifact says about itself."""

    format_version: int
    producer: str
    model: str
    source: Source
    architecture: Architecture
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    outputs: tuple[Output, ...]
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
        if self.self_test is not None:
            expected = {"logits": self.architecture.classes, "embedding": self.architecture.width}
            for name, length in expected.items():
                if len(getattr(self.self_test, name)) != length:
                    raise ValueError(f"self_test.{name} should have {length} values")

    def to_json(self) -> str:
        """The document that goes into the file."""
        return json.dumps(codec.encode(self), ensure_ascii=False)


def read_artifact(path: str | Path) -> Artifact:
    """Reads and checks what an artifact says about itself, without loading its weights.

    Raises:
        ArtifactError: no such file, no ONNX file, no vit-edge metadata, an unknown format version, a broken
            document, an unfinished export, or a file of weights that is missing or of another size.
    """
    path = Path(path)
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise ArtifactError(
            path,
            "an ONNX file without vit-edge metadata",
            "export the model with vit-export, not another tool",
        )
    artifact = _parse_document(metadata[METADATA_KEY], path)
    if artifact.verification is None or artifact.self_test is None:
        raise ArtifactError(path, "its export did not finish", "export it again")
    if artifact.external_data is not None:
        _check_external_data(path, artifact.external_data)
    return artifact


def _parse_document(text: str, path: Path) -> Artifact:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"its metadata is no JSON ({error})", "export it again") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        raise ArtifactError(
            path,
            f"has format version {version!r}, and this vit-edge reads version {FORMAT_VERSION}",
            "export the model again" if older else "upgrade vit-edge on this machine, or export the model again",
        )
    try:
        return codec.decode(Artifact, document, METADATA_KEY)
    except codec.SchemaError as error:
        raise ArtifactError(path, f"its metadata is broken: {error}", "export it again") from error


def _check_external_data(path: Path, data: ExternalData) -> None:
    weights = path.parent / data.file
    found = weights.stat().st_size if weights.is_file() else None
    if found is None:
        raise ArtifactError(weights, f"missing: it holds the weights of {path.name}", "copy it to the same folder")
    if found != data.bytes:
        raise ArtifactError(
            weights,
            f"has {found:,} bytes where {data.bytes:,} belong",
            f"copy it again, together with {path.name}",
        )
