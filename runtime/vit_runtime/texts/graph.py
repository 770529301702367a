"""Runs a text tower's graph in an onnxruntime session, and checks its answers against its description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import TextDescription
from vit_runtime.devices.loaded import Loaded
from vit_runtime.devices.session import OpenedSession
from vit_runtime.errors import ArtifactError, ProviderError, UsageError, one_line
from vit_runtime.texts.tokens import Int64Array

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime as ort

TOKENS: Final = "tokens"
"""Name of the graph's input."""
EMBEDDING: Final = "embedding"
"""Name of its output."""
_REMEDY: Final = "do not use this file; export the model again"


class TextGraph(Loaded):
    """Turns tokens into embeddings; `TextModel` adds the tokenizer."""

    def __init__(self, description: TextDescription, opened: OpenedSession) -> None:
        super().__init__(description.model, description.precision, opened)
        self.description = description

    def run(self, tokens: Int64Array) -> FloatArray:
        """Gives the embeddings, float32 (N, projection), of tokens int64 (N, context); N is at least 1.

        Raises:
            UsageError: the tokens have another shape or dtype, or the model is closed.
            ProviderError: the provider failed, most often because memory is short.
            ArtifactError: the graph gives another shape or type than its metadata says.
        """
        arch, model = self.description.architecture, self.description.model
        if tokens.dtype != np.int64 or tokens.shape[1:] != (arch.context,) or not len(tokens):
            what = f"of shape {tokens.shape} and dtype {tokens.dtype}, not what {model} takes"
            raise UsageError("tokens", what, f"give int64 of shape (N, {arch.context})")
        session = self._open_session()
        try:
            (answer,) = session.run([EMBEDDING], {TOKENS: tokens})
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            what = f"could not compute {len(tokens)} texts ({one_line(error)})"
            raise ProviderError(self.provider, what, "where memory is short, give fewer texts at a time") from error
        if not isinstance(answer, np.ndarray) or answer.dtype != np.float32:
            raise ArtifactError(model, f"its graph gave a {type(answer).__name__} that is no float32", _REMEDY)
        if answer.shape != (len(tokens), arch.projection):
            told = f"its graph gave {answer.shape} where {(len(tokens), arch.projection)} belongs"
            raise ArtifactError(model, told, _REMEDY)
        return answer


def check_text_signature(session: ort.InferenceSession, description: TextDescription, path: Path) -> None:
    """Compares names, types and shapes of a session's input and output with those of its description.

    Raises:
        ArtifactError: they differ.
    """
    arch = description.architecture
    for kind, nodes, name, dtype, size in (
        ("takes", session.get_inputs(), TOKENS, "tensor(int64)", arch.context),
        ("gives", session.get_outputs(), EMBEDDING, "tensor(float)", arch.projection),
    ):
        found = [(node.name, node.type, list(node.shape)[1:]) for node in nodes]
        if found != [(name, dtype, [size])]:
            told = f"its graph {kind} {str(found)[:200]}, and its metadata says {name} {dtype} (N, {size})"
            raise ArtifactError(path, told, _REMEDY)
