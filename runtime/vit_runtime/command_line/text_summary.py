"""Describes text towers and their check results in words, for people."""

from __future__ import annotations

from pathlib import Path

from vit_runtime.artifact import Quantization, TextArtifact, TextPooling, TextVerification
from vit_runtime.command_line.summary import SAME_READING, describe_source, table
from vit_runtime.errors import option
from vit_runtime.texts.model import TextCheck

_POOLINGS: dict[TextPooling, str] = {
    "largest_token": "the first token of the largest number, which ends the text",
    "end_token": "the token that ends the text",
    "last_token": "the last token",
}


def describe_text(artifact: TextArtifact, path: Path) -> str:
    """Describes everything worth knowing about a text tower, one line for each fact."""
    arch, tokenizer = artifact.architecture, artifact.tokenizer
    size = path.stat().st_size + (artifact.external_data.bytes if artifact.external_data else 0)
    beside = f", weights in {artifact.external_data.file}" if artifact.external_data else ""
    sees = "each token sees those in front of it" if arch.causal else "all tokens see each other"
    rows = {
        "text tower of": f"{artifact.model} (Hugging Face)",
        "weights": describe_source(artifact.source),
        "licence": artifact.source.licence or "not stated by the source",
        "architecture": f"{arch.layers} layers, {arch.heads} heads, width {arch.width}, MLP {arch.mlp_width}; {sees}",
        "input": f"tokens int64 (N, {arch.context}), of {arch.vocabulary:,}",
        "tokenizer": f"inside: {tokenizer.json_bytes / 1e6:,.1f} MB, compressed {tokenizer.packed_bytes / 1e6:,.1f}; "
        f"filled up with token {tokenizer.pad_token} on the {tokenizer.padding_side}",
        "output": f"embedding (N, {arch.projection}), float32, read at {_POOLINGS[arch.pooling]}",
        "precision": f"{artifact.precision}, for target {artifact.target}",
        "file": f"{size / 1e6:,.1f} MB{beside}, format {artifact.format_version}, by {artifact.producer}",
        **describe_text_verification(artifact.verification),
    }
    if artifact.quantization is not None:
        rows |= describe_text_quantization(artifact.quantization, size)
    return table(rows)


def describe_text_verification(result: TextVerification) -> dict[str, str]:
    """Gives what the export measured, as rows of a table."""
    tolerance = "" if result.tolerance is None else f", limit {result.tolerance:.1e}"
    cosine = "" if result.cosine_limit is None else f", limit {result.cosine_limit}"
    rows = {
        "verified": f"{result.runtime}, against {_reference(result)}",
        "  texts": f"{result.texts}: same tokens as {result.tokenizer} for {result.same_tokens}",
        "  embedding": f"largest difference {result.max_difference:.1e}{tolerance}; "
        f"smallest cosine {result.min_cosine:.7g}{cosine}",
    }
    return rows | ({"  remark": result.remark} if result.remark else {})


def describe_text_quantization(facts: Quantization, size: int) -> dict[str, str]:
    """Says how a file of `size` bytes was quantized, as rows of a table."""
    return {
        "quantized": f"{facts.scheme}: weights {facts.weights}, table of tokens int8 by row, "
        f"activations {facts.activations}",
        "  size": f"{size / facts.float32_bytes:.3f} of float32",
    }


def describe_text_check(result: TextCheck, artifact: TextArtifact) -> str:
    """Says in rows and a sentence whether a self-test was passed."""
    rows = {
        "file": "same bytes as when exported" if result.same_file else "NOT the bytes of the export, by its SHA-256",
        "tokens": "same as when exported" if result.same_tokens else "NOT those of the export: another tokenizers?",
        "embedding": f"largest difference {result.difference:.1e}, limit {result.tolerance:.1e}",
    }
    if not result.passed:
        remedy = f"try {option('provider', 'cpu')}, or copy or export it again"
        return f"{table(rows)}\nFAIL: do not trust its answers; {remedy}"
    reference = _reference(artifact.verification)
    like = f"as {reference}" if result.answers == "reference" else f"as the file did when it was verified: {reference}"
    return f"{table(rows)}\nPASS: this machine answers {like}"


def _reference(result: TextVerification) -> str:
    return result.reference + (SAME_READING if result.reading == "vit-edge" else "")
