"""Turns texts into tokens as transformers' own tokenizer of the model does."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from vit_runtime.artifact import TextArchitecture, TokenizerFacts
from vit_runtime.errors import ArtifactError, MissingDependencyError, VitEdgeError, one_line

Int64Array = npt.NDArray[np.int64]

_REMEDY: Final = "do not use this file; export the model again"
_NO_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


class Tokens:
    """A tokenizer with the rules of one model for padding and truncation."""

    def __init__(self, document: bytes, facts: TokenizerFacts, arch: TextArchitecture, path: Path) -> None:
        """Takes `tokenizer.json`, and the file that it is from, for messages.

        Raises:
            MissingDependencyError: the package `tokenizers` is not installed.
            ArtifactError: the package does not take the document.
        """
        self._facts, self._arch, self._path = facts, arch, path
        # Looked up once: transformers is not there to say what `tokenizer.json` leaves open, and what that file itself
        # says of padding could be any number.
        rules = {"pad_id": facts.pad_token, "direction": facts.padding_side, "length": arch.context}
        self._tokenizer = _tokenizer(document, path)
        with _blamed(path):
            self._tokenizer.enable_padding(pad_token="", **rules)
            self._tokenizer.enable_truncation(arch.context, direction=facts.truncation_side)

    def encode(self, texts: Sequence[str]) -> tuple[Int64Array, list[int]]:
        """Gives the tokens of texts, int64 (N, context), and the numbers of those texts that were cut off.

        Raises:
            ArtifactError: the tokenizer gives tokens that the model has no row for, or another number of them.
        """
        rows = np.empty((len(texts), self._arch.context), np.int64)
        cut = []
        for index, text in enumerate(texts):
            with _blamed(self._path):
                encoding = self._tokenizer.encode(prepared(text, self._facts.preparation))
            found = encoding.ids
            if len(found) != self._arch.context or not 0 <= min(found) <= max(found) < self._arch.vocabulary:
                what = f"its tokenizer gives tokens that are not {self._arch.context} of {self._arch.vocabulary:,}"
                raise ArtifactError(self._path, what, _REMEDY)
            rows[index] = found
            if encoding.overflowing:
                cut.append(index)
        return rows, cut


def prepared(text: str, preparation: Literal["none", "siglip"]) -> str:
    """Gives a text as the tokenizer's file expects it; see `TokenizerFacts.preparation`."""
    if preparation == "none":
        return text
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


def _tokenizer(document: bytes, path: Path) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        if error.name != "tokenizers":
            raise VitEdgeError("tokenizers", f"does not load ({one_line(error)})", "install it again") from error
        raise MissingDependencyError("tokenizers", "vit-edge[text]") from None
    with _blamed(path):
        return tokenizers.Tokenizer.from_buffer(document)


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Makes one line of whatever the library raises; where its Rust panics, that is no `Exception`.

    Raises:
        ArtifactError: replaces what was raised.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ArtifactError(path, f"its tokenizer is damaged ({one_line(error)})", _REMEDY) from error
        raise
