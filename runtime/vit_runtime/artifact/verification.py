"""How an export compares with PyTorch, and the stored answers by which any machine can check itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Output = Literal["logits", "embedding", "rollout"]
Reading = Literal["library", "vit-edge"]


@dataclass(frozen=True, kw_only=True)
class OutputCheck:
    """How far one output is from PyTorch's, on the picture that came out worst, and how far it may be."""

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
    """Whose code read the checkpoint for the reference: that of the model's own library, or vit-edge's. Only the
    library's would show that vit-edge reads a checkpoint wrongly."""
    runtime: str
    """Package, version and execution provider that was verified."""
    remark: str
    """What could not be checked on the machine that exported; empty where everything was checked."""
    pictures: int
    same_top1: int | None
    """Pictures with the same likeliest class; None without logits."""
    same_pixels: int
    """Pictures whose preprocessed bytes equal the reference's."""
    outputs: tuple[OutputCheck, ...]


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """The stored values of one output for the self-test's picture."""

    output: Output
    values: tuple[float, ...]
    """The values, in C order."""
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Answers for a picture that any machine can make; see `vit_runtime.selftest`."""

    formula: Literal["waves"]
    pixels_sha256: str
    """SHA-256 of the self-test's photo after preprocessing."""
    answers: Literal["reference", "export"]
    """Whose answers these are: PyTorch's, stored for fp32, or those that this very file gave when it was verified."""
    outputs: tuple[StoredAnswer, ...]
