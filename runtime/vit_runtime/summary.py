"""Artifacts and check results in words, for people."""

from __future__ import annotations

from pathlib import Path

from vit_runtime.artifact import Artifact, Source, Verification
from vit_runtime.selftest import SelfTestResult

_LABELS_SHOWN = 4


def describe(artifact: Artifact, path: Path) -> str:
    """Everything worth knowing about an artifact, a line each."""
    arch = artifact.architecture
    size = path.stat().st_size + (artifact.external_data.bytes if artifact.external_data else 0)
    beside = f", weights in {artifact.external_data.file}" if artifact.external_data else ""
    rows = {
        "model": f"{artifact.model} ({artifact.source.family})",
        "weights": describe_source(artifact.source),
        "licence": artifact.source.licence or "not stated by the source",
        "architecture": f"{arch.layers} layers, {arch.heads} heads, width {arch.width}, MLP {arch.mlp_width}, "
        f"patches {arch.patch_size}x{arch.patch_size}, {arch.tokens} tokens",
        "input": f"pixels uint8 (N, {arch.image_size}, {arch.image_size}, 3), RGB",
        "preparation": str(artifact.preprocessing),
        "outputs": f"logits (N, {arch.classes}), embedding (N, {arch.width}), float32",
        "labels": _describe_labels(artifact.labels),
        "precision": artifact.precision,
        "file": f"{size / 1e6:,.1f} MB{beside}, format {artifact.format_version}, by {artifact.producer}",
    }
    if artifact.verification is not None:
        rows |= describe_verification(artifact.verification)
    return table(rows)


def describe_source(source: Source) -> str:
    """Where weights come from, in a few words."""
    if source.is_random:
        return f"random, seed {source.seed}: never trained, its answers mean nothing"
    return f"{source.weights}, SHA-256 {source.sha256}"


def describe_verification(result: Verification) -> dict[str, str]:
    """What the export measured, by row."""
    return {
        "verified": f"{result.runtime}, against {result.reference}",
        "  pictures": f"{result.pictures}: same top-1 {result.same_top1}, same pixels {result.same_pixels}",
        "  logits": _difference(result.max_logit_difference, result.logit_tolerance),
        "  embedding": _difference(result.max_embedding_difference, result.embedding_tolerance),
    }


def describe_check(result: SelfTestResult) -> str:
    """The outcome of a self-test with its numbers."""
    rows = {
        "logits": _difference(result.logit_difference, result.logit_tolerance),
        "embedding": _difference(result.embedding_difference, result.embedding_tolerance),
        "pixels": "same bytes as when exported"
        if result.same_pixels
        else "NOT the bytes of the export: another Pillow?",
        "result": "PASS: this machine answers as PyTorch does"
        if result.passed
        else "FAIL: do not trust its answers; try --provider cpu, or export again",
    }
    return table(rows)


def table(rows: dict[str, str]) -> str:
    """Two columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def _difference(difference: float, tolerance: float) -> str:
    return f"largest difference {difference:.1e}, limit {tolerance:.1e}"


def _describe_labels(labels: tuple[str, ...] | None) -> str:
    if labels is None:
        return "none: classes go by number (export with --labels FILE)"
    more = ", ..." if len(labels) > _LABELS_SHOWN else ""
    return f"{len(labels)}: {', '.join(labels[:_LABELS_SHOWN])}{more}"
