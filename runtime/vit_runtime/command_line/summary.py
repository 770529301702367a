"""Describes artifacts and check results in words, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vit_runtime.artifact import (
    Architecture,
    Artifact,
    Assumption,
    Family,
    LayerLoss,
    OutputCheck,
    Pooling,
    Quantization,
    Source,
    Verification,
)
from vit_runtime.command_line.examples_summary import describe_examples
from vit_runtime.command_line.terminal import printable
from vit_runtime.errors import option
from vit_runtime.selftest import SelfTestResult

_LABELS_SHOWN = 4
_SHOWN = 3
"""Classes, and prompts of each."""
SAME_READING: Final = ", with the checkpoint as vit-edge reads it"
_WORST_SHOWN = 3
_FAMILIES: Final[dict[Family, str]] = {
    "torchvision": "torchvision",
    "timm": "timm",
    "huggingface": "Hugging Face",
    "open_clip": "open_clip",
}
_POOLINGS: Final[dict[Pooling, str]] = {
    "class_token": "the class token",
    "class_and_distillation_token": "class and distillation token",
    "class_token_and_patch_mean": "the class token and the mean of the patches",
    "patch_mean": "the mean of the patches",
    "attention": "what a probe gathers from all tokens",
}


def describe(artifact: Artifact, path: Path) -> str:
    """Describes everything worth knowing about an artifact, one line for each fact."""
    arch = artifact.architecture
    size = path.stat().st_size + (artifact.external_data.bytes if artifact.external_data else 0)
    beside = f", weights in {artifact.external_data.file}" if artifact.external_data else ""
    rows = {
        "model": f"{artifact.model} ({_FAMILIES[artifact.source.family]})",
        "weights": describe_source(artifact.source),
        "licence": artifact.source.licence or "not stated by the source",
        "architecture": f"{arch.layers} layers, {arch.heads} heads, width {arch.width}, MLP {arch.mlp_width}, "
        f"patches {arch.patch_size}x{arch.patch_size}",
        "tokens": _describe_tokens(arch),
        "input": f"pixels uint8 (N, {arch.image_size}, {arch.image_size}, 3), RGB",
        "preparation": str(artifact.preprocessing),
        **describe_assumptions(artifact.assumptions),
        "outputs": _describe_outputs(artifact),
        "labels": _describe_labels(artifact),
        **describe_head(artifact),
        "precision": f"{artifact.precision}, for target {artifact.target}",
        "file": f"{size / 1e6:,.1f} MB{beside}, format {artifact.format_version}, by {artifact.producer}",
        **describe_verification(artifact.verification),
    }
    if artifact.quantization is not None:
        rows |= describe_quantization(artifact, artifact.quantization, size)
        rows |= _describe_sensitivity(artifact.quantization.sensitivity)
    return table(rows)


def describe_source(source: Source) -> str:
    """Says where weights come from, in a few words."""
    if source.is_random:
        return f"random, seed {source.seed}: never trained, its answers mean nothing"
    return f"{source.weights}, SHA-256 {source.sha256}"


def describe_assumptions(assumptions: Sequence[Assumption]) -> dict[str, str]:
    """Gives a row for each assumption: the checkpoint does not say it, and no comparison could find it wrong."""
    rows = {f"  {taken.subject}": f"{taken.value} ({taken.basis})" for taken in assumptions}
    return {"assumed": "what the checkpoint does not say, so nothing could check it"} | rows if rows else {}


def describe_head(artifact: Artifact) -> dict[str, str]:
    """Says where classes come from that are not the checkpoint's own, as rows of a table."""
    head = artifact.head
    rows = {}
    if head is not None and head.texts is not None and artifact.labels is not None:
        texts = head.texts
        rows["classes"] = f"zero-shot: by texts, which the text tower of {texts.model} read ({texts.libraries})"
        if texts.templates:
            rows["  prompts"] = _some(texts.templates)
        # With `{}` as it stands: a file could fill it with a label of megabytes, a million times.
        own = [index for index, prompts in enumerate(texts.prompts) if prompts]
        rows |= {
            f"  class {index}": f"{artifact.labels[index]}: {_some(texts.prompts[index])}" for index in own[:_SHOWN]
        }
        if len(own) > _SHOWN:
            rows["  ..."] = f"{len(own) - _SHOWN:,} more with prompts of their own"
    if head is not None and head.examples is not None and artifact.labels is not None:
        rows |= describe_examples(head.examples, artifact.labels)
    if head is not None and head.probabilities == "sigmoid":
        rows["probabilities"] = "each class has its own (sigmoid): they do not add up to 100 %"
    return rows


def describe_reference(result: Verification) -> str:
    """Says what the answers were compared with, and whether that relies on vit-edge's reading of the checkpoint."""
    return result.reference + (SAME_READING if result.reading == "vit-edge" else "")


def describe_verification(result: Verification) -> dict[str, str]:
    """Gives what the export measured, as rows of a table."""
    same_top1 = "" if result.same_top1 is None else f"same top-1 {result.same_top1}, "
    rows = {
        "verified": f"{result.runtime}, against {describe_reference(result)}",
        "  pictures": f"{result.pictures} by formula: {same_top1}same pixels {result.same_pixels}",
    }
    rows |= {f"  {output.output}": _verified(output) for output in result.outputs}
    if result.remark:
        rows["  remark"] = result.remark
    return rows


def describe_quantization(artifact: Artifact, facts: Quantization, size: int) -> dict[str, str]:
    """Says how a file of `size` bytes was quantized and what that cost, as rows of a table."""
    head = ("the head",) if artifact.architecture.classes else ()
    rows = {
        "quantized": f"{facts.scheme}: weights {facts.weights}, activations {facts.activations}",
        "  in float": ", ".join((*head, *facts.kept_float)) or "none",
        "  size": f"{size / facts.float32_bytes:.3f} of float32",
    }
    if facts.calibration is not None:
        skipped = f", {facts.calibration.skipped} unreadable ones skipped" if facts.calibration.skipped else ""
        rows["  calibration"] = f"{facts.calibration.pictures} pictures{skipped}, SHA-256 {facts.calibration.sha256}"
    if facts.agreement is not None and facts.calibration is not None:
        same, pictures = facts.agreement.same_top1, facts.calibration.pictures
        if same is not None:
            rows["  on these"] = f"same top-1 as float32 for {same} of {pictures} ({same / pictures:.1%})"
        for output in facts.agreement.outputs:
            rows[f"  {output.output} cosine"] = (
                f"{output.mean_cosine:.5f} on average, {output.min_cosine:.5f} at worst; "
                f"largest difference {output.max_difference:.2g}"
            )
    if facts.sensitivity:
        worst = (f"{loss.layer} ({loss.sqnr_db:.1f} dB)" for loss in facts.sensitivity[:_WORST_SHOWN])
        rows["  loses most"] = ", ".join(worst)
    return rows


def _describe_sensitivity(sensitivity: Sequence[LayerLoss]) -> dict[str, str]:
    """Gives a row for each layer's loss, the worst first."""
    heading = {"sensitivity": "signal to quantization noise of each layer, the worst first"} if sensitivity else {}
    return heading | {f"  {loss.layer}": f"{loss.sqnr_db:.1f} dB" for loss in sensitivity}


def describe_check(result: SelfTestResult, artifact: Artifact) -> dict[str, str]:
    """Gives the outcome of a self-test as rows of a table, with the assumptions that it cannot check."""
    return {
        "file": "same bytes as when exported" if result.same_file else "NOT the bytes of the export, by its SHA-256",
        **{str(answer.output): _difference(answer.difference, answer.tolerance) for answer in result.outputs},
        "pixels": "same bytes as when exported"
        if result.same_pixels
        else "NOT the bytes of the export: another Pillow?",
        **describe_assumptions(artifact.assumptions),
    }


def describe_outcome(result: SelfTestResult, artifact: Artifact) -> str:
    """Says in a sentence whether a self-test was passed."""
    if not result.passed:
        return f"FAIL: do not trust its answers; try {option('provider', 'cpu')}, or copy or export it again"
    reference = describe_reference(artifact.verification)
    like = f"as {reference}" if result.answers == "reference" else f"as the file did when it was verified: {reference}"
    return f"PASS: this machine answers {like}"


def table(rows: dict[str, str]) -> str:
    """Puts rows into two columns that are safe to print on a terminal."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {printable(text)}" for name, text in rows.items())


def _difference(difference: float, tolerance: float) -> str:
    return f"largest difference {difference:.1e}, limit {tolerance:.1e}"


def _verified(output: OutputCheck) -> str:
    tolerance = "" if output.tolerance is None else f", limit {output.tolerance:.1e}"
    cosine = "" if output.cosine_limit is None else f", limit {output.cosine_limit}"
    return f"largest difference {output.max_difference:.1e}{tolerance}; smallest cosine {output.min_cosine:.7g}{cosine}"


def _some(prompts: Sequence[str]) -> str:
    shown = " | ".join(prompts[:_SHOWN])
    return shown if len(prompts) <= _SHOWN else f"{shown} | ... ({len(prompts):,})"


def _describe_tokens(arch: Architecture) -> str:
    kinds = {"class": arch.class_token, "distillation": arch.distillation_token, "register": arch.registers}
    prefix = ", ".join(f"{count:d} {kind}" for kind, count in kinds.items() if count)
    return f"{arch.tokens}: {f'{prefix}, ' if prefix else ''}{arch.grid}x{arch.grid} patches"


def _describe_outputs(artifact: Artifact) -> str:
    outputs = ", ".join(
        f"{output} ({', '.join(('N', *map(str, artifact.shape(output))))})" for output in artifact.outputs
    )
    arch = artifact.architecture
    head = f"; the head reads {_POOLINGS[arch.pooling]}" if arch.classes else "; no head: embeddings only"
    if artifact.rollout is None:
        return f"{outputs}, float32{head}"
    discarded = f", {artifact.rollout.discard_ratio:.0%} discarded" if artifact.rollout.discard_ratio else ""
    return f"{outputs}, float32{head}; rollout by {artifact.rollout.head_fusion} of heads{discarded}"


def _describe_labels(artifact: Artifact) -> str:
    labels = artifact.labels
    if labels is None:
        remedy = f"none: classes go by number (export with {option('labels', 'FILE')})"
        return remedy if artifact.architecture.classes else "none"
    more = ", ..." if len(labels) > _LABELS_SHOWN else ""
    return f"{len(labels)}: {', '.join(labels[:_LABELS_SHOWN])}{more}"
