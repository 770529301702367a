"""`load_text`, and the model that it gives: from words to embeddings."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import TextArtifact, as_path
from vit_runtime.artifact.digest import check_digest, digest_problem
from vit_runtime.artifact.external_tensors import check_tensors
from vit_runtime.artifact.reading import read_text_document
from vit_runtime.artifact.tokenizer import read_tokenizer
from vit_runtime.checks import whole_number
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.providers import Provider
from vit_runtime.devices.session import Auto, OpenedSession, open_session
from vit_runtime.errors import UsageError, option
from vit_runtime.suitability import check_suits, preferred, unfit
from vit_runtime.texts.graph import TextGraph, check_text_signature
from vit_runtime.texts.tokens import Int64Array, Tokens
from vit_runtime.vectors import normalized
from vit_runtime.wording import plural

if TYPE_CHECKING:
    from vit_runtime.artifact import TextSelfTest

LOG: Final = logging.getLogger("vit_runtime")
_LONGEST_TEXT: Final = 1 << 16
"""Most characters of a text. A tokenizer looks at all of them, though the model reads a few dozen tokens."""
_BATCH: Final = 32
"""Texts in one run: their attention weights take some megabytes."""


@dataclass(frozen=True, kw_only=True)
class TextCheck:
    """How far this machine's answer is from the stored one: PyTorch's for fp32, else the export's own."""

    answers: Literal["reference", "export"]
    difference: float
    """Largest absolute difference between a value of the embedding and the stored one; NaN where either is NaN."""
    tolerance: float
    same_tokens: bool
    """Whether the stored sentence becomes the same tokens as on the machine that exported."""
    same_file: bool
    """Whether every byte of the file is as it was exported, by its SHA-256."""

    @property
    def passed(self) -> bool:
        """Whether tokens and file are the same and the embedding is within its tolerance; a NaN fails."""
        return self.same_tokens and self.same_file and self.difference <= self.tolerance


class TextModel(TextGraph):
    """A text tower in an onnxruntime session, with its tokenizer. It is safe to use from several threads."""

    def __init__(self, artifact: TextArtifact, opened: OpenedSession, tokenizer: Tokens, path: Path) -> None:
        super().__init__(artifact, opened)
        self.artifact = artifact
        self.path = path
        """The file that the model was loaded from."""
        self._tokenizer = tokenizer
        self._has_told = False

    def embed(
        self, texts: str | Iterable[str], *, normalize: bool = False, batch_size: int | None = None
    ) -> FloatArray:
        """What the texts mean, in the space of the pictures' embeddings: float32 (N, projection); N is 1 for one text.

        A text of more tokens than the model reads is cut off, as transformers does it; this is logged once. With
        `normalize` each row has length 1, so the product with a normalised row of a picture is their cosine.

        Raises:
            UsageError: a text is empty, no text at all, or longer than 65,536 characters.
        """
        batch_size = _BATCH if batch_size is None else whole_number("batch_size", batch_size, least=1)
        tokens = self.tokens(texts)
        rows = [self.run(tokens[start : start + batch_size]) for start in range(0, len(tokens), batch_size)]
        width = self.artifact.architecture.projection
        embeddings = np.concatenate(rows) if rows else np.empty((0, width), np.float32)
        return normalized(embeddings) if normalize else embeddings

    def tokens(self, texts: str | Iterable[str]) -> Int64Array:
        """The tokens that the model reads for each text: int64 (N, context).

        Raises:
            UsageError: as for `embed`.
        """
        checked = _checked(texts)
        tokens, cut = self._tokenizer.encode(checked)
        if cut and not self._has_told:
            self._has_told = True
            context = self.artifact.architecture.context
            some = f"{plural(len(cut), 'text')} of more than {context} tokens, which is what the model reads"
            LOG.warning("%s: the rest is cut off (first: %s...)", some, checked[cut[0]][:40])
        return tokens

    def check(self) -> TextCheck:
        """Reads the whole file again, compares it with its digest, and runs the stored self-test on this machine.

        Raises:
            ArtifactError: the file cannot be read any more.
        """
        stored = self.artifact.self_test
        tokens, _ = self._tokenizer.encode([stored.text])
        return TextCheck(
            answers=stored.answers,
            difference=_difference(self, stored),
            tolerance=stored.tolerance,
            same_tokens=tokens[0].tolist() == list(stored.tokens),
            same_file=digest_problem(self.path, self.artifact.external_data) is None,
        )


def load_text(
    path: str | os.PathLike[str], *, provider: Provider = "auto", threads: int | None = None, verify: bool = False
) -> TextModel:
    """Loads a text tower that `vit-export --text` has written.

    Args:
        path: the .onnx file.
        provider: "auto" takes the provider that the file is made for, where it is installed and passes the file's
            self-test, else the CPU; any other name runs on that provider or raises.
        threads: processor cores to use, where a processor computes; None for the physical performance cores.
        verify: whether to read the whole file first and compare its SHA-256 with the one that the export wrote.

    Raises:
        ArtifactError: the file is missing, damaged, no text tower of a known version, or its tokenizer is damaged.
        ProviderError: the provider cannot run here.
        MissingDependencyError: no onnxruntime is installed, or no tokenizers.
    """
    path = as_path(path)
    artifact = read_text_document(path)
    check_suits(artifact, provider)
    if verify:
        check_digest(path, artifact.external_data)
    tokenizer = Tokens(read_tokenizer(path, artifact.tokenizer), artifact.tokenizer, artifact.architecture, path)

    def judge(opened: OpenedSession) -> str:
        off = _difference(TextGraph(artifact, opened), artifact.self_test)
        return "" if off <= artifact.self_test.tolerance else f"it fails the self-test (embedding is off by {off:.2g})"

    opened = open_session(
        path,
        provider=provider,
        threads=threads,
        facts=ModelFacts(
            precision=artifact.precision,
            width=artifact.architecture.width,
            check=partial(check_tensors, path, artifact.external_data),
        ),
        auto=Auto(first=preferred(artifact), judge=judge),
    )
    check_text_signature(opened.session, artifact, path)
    notes = filter(None, (opened.note, unfit(artifact, opened.provider)))
    return TextModel(artifact, replace(opened, note="; ".join(notes)), tokenizer, path)


def _difference(graph: TextGraph, stored: TextSelfTest) -> float:
    """How far a graph's embedding of the stored tokens is from the stored one; NaN where either holds a NaN."""
    (ours,) = graph.run(np.array([stored.tokens], np.int64))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(ours.astype(np.float64) - np.array(stored.embedding, np.float64))))


def _checked(texts: object) -> list[str]:
    where = option("texts")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, bytearray, memoryview)):
        raise UsageError(where, f"{repr(texts)[:40]} is no text", "give a str, or a list of them")
    found = list(texts)
    for number, text in enumerate(found, 1):
        if not isinstance(text, str):
            raise UsageError(where, f"number {number}, {repr(text)[:40]}, is no text", "give a str, or a list of them")
        if not text.strip():
            raise UsageError(where, f"number {number} is empty", "describe what to look for")
        if len(text) > _LONGEST_TEXT:
            raise UsageError(where, f"number {number} has {len(text):,} characters", f"give at most {_LONGEST_TEXT:,}")
    return found
