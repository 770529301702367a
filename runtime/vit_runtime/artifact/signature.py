"""Checks that a graph takes and gives what its metadata says: when a model is loaded, and each time it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vit_runtime.errors import ArtifactError

if TYPE_CHECKING:
    import onnxruntime as ort

    from vit_runtime.arrays import FloatArray
    from vit_runtime.artifact import Description, Output

_REMEDY: Final = "do not use this file; export the model again"
_SHOWN: Final = 200


def check_signature(session: ort.InferenceSession, description: Description, path: Path) -> None:
    """Compares names, types and shapes of a session's inputs and outputs with those of its description.

    Raises:
        ArtifactError: they differ.
    """
    pixels = (*description.preprocessing.crop_hw, 3)
    expected_inputs = [f"pixels uint8 {_shape(('N', *pixels))}"]
    expected_outputs = [f"{output} float {_shape(('N', *description.shape(output)))}" for output in description.outputs]
    for kind, nodes, expected in (
        ("takes", session.get_inputs(), expected_inputs),
        ("gives", session.get_outputs(), expected_outputs),
    ):
        try:
            found = [_described(node) for node in nodes]
        except UnicodeDecodeError as error:
            raise ArtifactError(path, f"what its graph {kind} has a name that is no text", _REMEDY) from error
        if found != expected:
            told = f"its graph {kind} {_listed(found)}, and its metadata says {_listed(expected)}"
            raise ArtifactError(path, told, _REMEDY)


def check_finite(values: FloatArray, description: Description) -> None:
    """Checks that an output has neither NaN nor infinity: no answer can be made of them.

    Raises:
        ArtifactError: it has.
    """
    if not np.isfinite(values).all():
        raise ArtifactError(description.model, "answers with NaN or infinity", "run vit-run check on its file")


def check_answers(
    answers: Sequence[object], outputs: Sequence[Output], description: Description, pictures: int
) -> None:
    """Compares a graph's answers with its description: float32, one row for each picture.

    Raises:
        ArtifactError: the answers differ from the description, whatever the graph announced when it was loaded.
    """
    for output, answer in zip(outputs, answers, strict=True):
        expected = (pictures, *description.shape(output))
        if not isinstance(answer, np.ndarray) or answer.dtype != np.float32 or answer.shape != expected:
            found = (
                f"{answer.dtype} {_shape(answer.shape)}" if isinstance(answer, np.ndarray) else type(answer).__name__
            )
            told = f"its graph gave {output} as {found} where float32 {_shape(expected)} belongs"
            raise ArtifactError(description.model, told, _REMEDY)


def empty_answer(output: Output, description: Description) -> FloatArray:
    """Gives the answer for no pictures: float32 (0, ...)."""
    return np.empty((0, *description.shape(output)), np.float32)


def _described(node: Any) -> str:
    """Gives name, type and shape of an onnxruntime node argument; a first axis of any length is called N."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    shape = list(node.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = "N"
    return f"{node.name} {kind} {_shape(shape)}"


def _shape(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))})"


def _listed(parts: Sequence[str]) -> str:
    text = ", ".join(parts) or "nothing"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
