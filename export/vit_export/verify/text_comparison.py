"""Verification of a text tower: the written file, run by `vit_runtime`, against PyTorch and transformers' tokens.

As for pictures, PyTorch is asked before, so that its weights are freed when onnxruntime loads its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from vit_export.errors import VerificationError
from vit_export.similarity import cosines
from vit_export.verify.comparison import not_checked
from vit_export.verify.measuring import exact
from vit_export.verify.plain_text import TextReference
from vit_export.verify.sentences import SELF_TEST, SENTENCES
from vit_export.verify.tolerances import SELF_TEST_SHARE, SELF_TEST_SLACK, TOLERANCES, Cosine, Difference
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Precision, Reading, TextSelfTest, TextVerification
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.selftest import largest_difference
from vit_runtime.texts.graph import TextGraph
from vit_runtime.texts.tokens import Int64Array, Tokens

_REMEDIES: Final[dict[Precision, str]] = {
    "fp32": "nothing was written; please report it with the model's name",
    "int8": "nothing was written; export it in fp32",
    "fp16": "nothing was written; export it in fp32",
}


@dataclass(frozen=True, kw_only=True)
class ExpectedTexts:
    """What PyTorch and transformers' tokenizer say of `SENTENCES`."""

    reference: str
    reading: Reading
    tokenizer: str
    """Package and version that gave the tokens."""
    tokens: Int64Array
    """int64 (texts, context)."""
    embeddings: FloatArray
    """float32 (texts, E)."""


def ask_text_reference(model: TextReference, tokenizer: str, tokens: Sequence[Sequence[int]]) -> ExpectedTexts:
    """Runs a text tower in PyTorch on the tokens of `SENTENCES`, a sentence at a time."""
    rows = torch.tensor(tokens)
    with torch.inference_mode():
        embeddings = torch.cat([model(row[None]) for row in rows]).numpy()
    return ExpectedTexts(
        reference=model.name, reading=model.reading, tokenizer=tokenizer, tokens=rows.numpy(), embeddings=embeddings
    )


def verify_texts(graph: TextGraph, tokenizer: Tokens, expected: ExpectedTexts) -> tuple[TextVerification, TextSelfTest]:
    """Compares tokens, and embeddings at batch size 1 and larger, and makes the self-test of the same answers.

    Raises:
        VerificationError: a sentence has other tokens, or an embedding is further off than its tolerance.
    """
    description = graph.description
    tokens, _ = tokenizer.encode(SENTENCES)
    ours = np.concatenate([graph.run(tokens[:1]), graph.run(tokens[1:])])
    tolerance = TOLERANCES[description.precision]["embedding"]
    result = TextVerification(
        reference=expected.reference,
        reading=expected.reading,
        tokenizer=expected.tokenizer,
        runtime=f"onnxruntime {import_onnxruntime().__version__}, {graph.provider}",
        remark=not_checked(description, graph.provider),
        texts=len(tokens),
        same_tokens=int((tokens == expected.tokens).all(axis=1).sum()),
        max_difference=largest_difference(ours, expected.embeddings),
        min_cosine=float(cosines(ours, expected.embeddings).min()),
        tolerance=tolerance.limit(expected.embeddings) if isinstance(tolerance, Difference) else None,
        cosine_limit=tolerance.least if isinstance(tolerance, Cosine) else None,
    )
    if not texts_passed(result):
        raise VerificationError(
            f"the text tower of {description.model} for {description.target}",
            f"differs from PyTorch: embedding by {result.max_difference:.1e} (limit {result.tolerance}), "
            f"smallest cosine {result.min_cosine:.4f} (limit {result.cosine_limit}), tokens of "
            f"{result.texts - result.same_tokens} of {result.texts} sentences",
            _REMEDIES[description.precision],
        )
    return result, _self_test(result, tokens[0], ours[0], expected.embeddings[0], description.precision)


def texts_passed(result: TextVerification) -> bool:
    """Whether all tokens are the same and the difference is within its limit; NaN and infinity never are."""
    return (
        result.same_tokens == result.texts
        and math.isfinite(result.max_difference)
        and (result.tolerance is None or result.max_difference <= result.tolerance)
        and (result.cosine_limit is None or result.min_cosine >= result.cosine_limit)
    )


def _self_test(
    result: TextVerification, tokens: Int64Array, ours: FloatArray, expected: FloatArray, precision: Precision
) -> TextSelfTest:
    """Stores PyTorch's answer for fp32, and the file's own for other precisions, as for pictures."""
    share = SELF_TEST_SHARE.get(precision)
    stored = expected if share is None else ours
    limit = SELF_TEST_SLACK * (result.tolerance or 0.0) if share is None else share * float(np.abs(stored).max())
    return TextSelfTest(
        text=SELF_TEST,
        tokens=tuple(map(int, tokens)),
        answers="reference" if share is None else "export",
        embedding=exact(stored),
        tolerance=limit,
    )
