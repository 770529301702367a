"""How an int8 graph was made, and what that cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vit_runtime.artifact.verification import Output


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
    """How one output of the int8 graph compares with the float32 graph's."""

    output: Output
    mean_cosine: float
    min_cosine: float
    max_difference: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the int8 graph's answers compare with the same model's float32 graph's, on the calibration pictures."""

    same_top1: int | None
    """Pictures with the same likeliest class; None without logits."""
    outputs: tuple[OutputAgreement, ...]


@dataclass(frozen=True, kw_only=True)
class LayerLoss:
    """The loss of one linear layer by quantization."""

    layer: str
    """Path of the layer in the graph."""
    sqnr_db: float
    """Power of the layer's output over the power of the error that int8 weights and inputs make in it, in dB."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How an int8 graph was made, and what that cost."""

    scheme: Literal["static", "dynamic"]
    weights: Literal["int8 per output channel"]
    activations: str
    """Activations in words: what is uint8 or int8, and where its scales come from."""
    kept_float: tuple[str, ...]
    """Linear layers left in float32."""
    float32_bytes: int
    """Size of the same model in float32."""
    calibration: Calibration | None
    """The pictures that ranges were taken from; None for dynamic quantization."""
    agreement: Agreement | None
    sensitivity: tuple[LayerLoss, ...]
    """Every linear layer that was calibrated, the one that loses most first."""


def check_quantization(precision: str, quantization: Quantization | None) -> None:
    """Checks that int8, and nothing else, says how it was made.

    Raises:
        ValueError: the precision and the block do not go together.
    """
    if (quantization is None) == (precision == "int8"):
        found = "without a" if quantization is None else "with a"
        raise ValueError(f"precision {precision} {found} quantization block")
