"""What an export measured and stores in the artifact: verification, quantization, self-test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Output = Literal["logits", "embedding", "rollout"]
Reading = Literal["library", "vit-edge"]


@dataclass(frozen=True, kw_only=True)
class OutputCheck:
    """How far one output is from PyTorch's, on the picture that came out worst, and what it was held to."""

    output: Output
    max_difference: float
    min_cosine: float
    tolerance: float | None
    """Limit of the largest difference; None where the precision is held to a cosine."""
    cosine_limit: float | None
    """Limit of the smallest cosine; None where the precision is held to a difference."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the export measured against PyTorch, on pictures made by formula, before the file was written."""

    reference: str
    """Packages and versions that gave the reference answers."""
    reading: Reading
    """Whose code read the checkpoint for the reference: the library's that the model comes from, or vit-edge's own.
    Only the first would notice that vit-edge reads a checkpoint wrongly."""
    runtime: str
    """Package, version and execution provider that was verified."""
    remark: str
    """What could not be checked on the machine that exported; empty where everything was."""
    pictures: int
    same_top1: int | None
    """None without logits."""
    same_pixels: int
    """Pictures whose preprocessed bytes equal the reference's."""
    outputs: tuple[OutputCheck, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The pictures that decided the ranges of static quantization."""

    pictures: int
    skipped: int
    """Files that could not be read."""
    sha256: str
    """Digest of the prepared pixels, in order."""


@dataclass(frozen=True, kw_only=True)
class OutputAgreement:
    """One output of the int8 graph against the float32 graph's."""

    output: Output
    mean_cosine: float
    min_cosine: float
    max_difference: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The int8 graph against the same model's float32 graph, on the calibration pictures."""

    same_top1: int | None
    """None without logits."""
    outputs: tuple[OutputAgreement, ...]


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
class StoredAnswer:
    """One output for the self-test's picture."""

    output: Output
    values: tuple[float, ...]
    """In C order."""
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Answers for a picture that any machine can make; see `vit_runtime.selftest`."""

    formula: Literal["waves"]
    pixels_sha256: str
    """Digest of the formula's photo after preprocessing."""
    answers: Literal["reference", "export"]
    """Whose answers these are: PyTorch's in fp32, or those of this very file as it was verified."""
    outputs: tuple[StoredAnswer, ...]
