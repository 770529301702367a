"""Artifacts and check results in words, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vit_runtime.artifact import Artifact, LayerLoss, Quantization, Source, Verification
from vit_runtime.selftest import SelfTestResult

_LABELS_SHOWN = 4
_WORST_SHOWN = 3


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
        "precision": f"{artifact.precision}, for target {artifact.target}",
        "file": f"{size / 1e6:,.1f} MB{beside}, format {artifact.format_version}, by {artifact.producer}",
    }
    if artifact.verification is not None:
        rows |= describe_verification(artifact.verification)
    if artifact.quantization is not None:
        rows |= describe_quantization(artifact.quantization, size)
        rows |= _describe_sensitivity(artifact.quantization.sensitivity)
    return table(rows)


def describe_source(source: Source) -> str:
    """Where weights come from, in a few words."""
    if source.is_random:
        return f"random, seed {source.seed}: never trained, its answers mean nothing"
    return f"{source.weights}, SHA-256 {source.sha256}"


def describe_verification(result: Verification) -> dict[str, str]:
    """What the export measured, by row."""
    rows = {
        "verified": f"{result.runtime}, against {result.reference}",
        "  pictures": f"{result.pictures} by formula: same top-1 {result.same_top1}, same pixels {result.same_pixels}",
        "  logits": _verified(result.max_logit_difference, result.logit_tolerance, result.min_logit_cosine),
        "  embedding": _verified(
            result.max_embedding_difference, result.embedding_tolerance, result.min_embedding_cosine
        ),
    }
    if result.cosine_limit is not None:
        rows["  limit"] = f"cosine at least {result.cosine_limit}"
    if result.remark:
        rows["  remark"] = result.remark
    return rows


def describe_quantization(facts: Quantization, size: int) -> dict[str, str]:
    """How a file of `size` bytes was quantized and what that cost, by row."""
    rows = {
        "quantized": f"{facts.scheme}: weights {facts.weights}, activations {facts.activations}",
        "  in float": ", ".join(("the head", *facts.kept_float)),
        "  size": f"{size / facts.float32_bytes:.3f} of float32",
    }
    if facts.calibration is not None:
        skipped = f", {facts.calibration.skipped} unreadable ones skipped" if facts.calibration.skipped else ""
        rows["  calibration"] = f"{facts.calibration.pictures} pictures{skipped}, SHA-256 {facts.calibration.sha256}"
    if facts.agreement is not None and facts.calibration is not None:
        same, pictures = facts.agreement.same_top1, facts.calibration.pictures
        rows["  on these"] = f"same top-1 as float32 for {same} of {pictures} ({same / pictures:.1%})"
        for name in ("logit", "embedding"):
            mean, least, largest = (
                getattr(facts.agreement, f"{kind}")
                for kind in (f"mean_{name}_cosine", f"min_{name}_cosine", f"max_{name}_difference")
            )
            rows[f"  {name} cosine"] = f"{mean:.5f} on average, {least:.5f} at worst; largest difference {largest:.2g}"
    if facts.sensitivity:
        worst = (f"{loss.layer} ({loss.sqnr_db:.1f} dB)" for loss in facts.sensitivity[:_WORST_SHOWN])
        rows["  loses most"] = ", ".join(worst)
    return rows


def _describe_sensitivity(sensitivity: Sequence[LayerLoss]) -> dict[str, str]:
    """Every layer's loss, the worst first, a row each."""
    heading = {"sensitivity": "signal to quantization noise of each layer, the worst first"} if sensitivity else {}
    return heading | {f"  {loss.layer}": f"{loss.sqnr_db:.1f} dB" for loss in sensitivity}


def describe_check(result: SelfTestResult) -> str:
    """The outcome of a self-test with its numbers."""
    like = "PyTorch does" if result.answers == "reference" else "the file did when it was verified against PyTorch"
    rows = {
        "logits": _difference(result.logit_difference, result.logit_tolerance),
        "embedding": _difference(result.embedding_difference, result.embedding_tolerance),
        "pixels": "same bytes as when exported"
        if result.same_pixels
        else "NOT the bytes of the export: another Pillow?",
        "result": f"PASS: this machine answers as {like}"
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


def _verified(difference: float, tolerance: float | None, cosine: float) -> str:
    limit = "" if tolerance is None else f", limit {tolerance:.1e}"
    return f"largest difference {difference:.1e}{limit}; smallest cosine {cosine:.7g}"


def _describe_labels(labels: tuple[str, ...] | None) -> str:
    if labels is None:
        return "none: classes go by number (export with --labels FILE)"
    more = ", ..." if len(labels) > _LABELS_SHOWN else ""
    return f"{len(labels)}: {', '.join(labels[:_LABELS_SHOWN])}{more}"
