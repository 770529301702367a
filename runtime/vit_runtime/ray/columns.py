"""Puts answers into columns of Arrow, whose types are the same whatever a batch holds.

A dict of NumPy arrays would not do: where all pictures of a batch are fine, its column of errors has no type, and
Parquet files of such batches cannot be read together with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vit_runtime.answers import Answer
from vit_runtime.arrays import FloatArray
from vit_runtime.errors import ImageError
from vit_runtime.model import ViT
from vit_runtime.probabilities import probabilities
from vit_runtime.ray.kinds import Answers

if TYPE_CHECKING:
    import pyarrow as pa

Answered = Answer | ImageError


def column_names(answers: Answers, top_k: int) -> list[str]:
    """Names the columns of some answers, without a prefix."""
    if answers == "embeddings":
        return ["embedding", "error"]
    if answers == "probabilities":
        return ["probabilities", "error"]
    lists = ["labels", "indices", "probabilities"] if top_k > 1 else []
    return ["label", "index", "probability", *lists, "error"]


def answer_columns(model: ViT, answered: Sequence[Answered], answers: Answers, top_k: int) -> list[pa.Array]:
    """Gives a column for each of `column_names`; a picture with an error has nulls in all but the last."""
    if answers == "labels":
        columns = _labels(model, answered, top_k)
    else:
        rows = [answer.values if isinstance(answer, Answer) else None for answer in answered]
        arch = model.artifact.architecture
        if answers == "probabilities":
            shares = [None if row is None else _probabilities(row, model) for row in rows]
            columns = [_rows(shares, arch.classes)]
        else:
            columns = [_rows(rows, arch.embedding_width)]
    return [*columns, _errors(answered)]


def _labels(model: ViT, answered: Sequence[Answered], top_k: int) -> list[pa.Array]:
    import pyarrow as pa

    tops = [model.top(it.values, top_k=top_k) if isinstance(it, Answer) else None for it in answered]
    best = [None if top is None else top[0] for top in tops]
    columns = [
        pa.array([None if it is None else it.label for it in best], pa.string()),
        pa.array([None if it is None else it.index for it in best], pa.int32()),
        pa.array([None if it is None else it.probability for it in best], pa.float32()),
    ]
    if top_k > 1:
        for name, kind in (("label", pa.string()), ("index", pa.int32()), ("probability", pa.float32())):
            values = [None if top is None else [getattr(it, name) for it in top] for top in tops]
            columns.append(pa.array(values, pa.list_(kind)))
    return columns


def _rows(rows: Sequence[FloatArray | None], width: int) -> pa.Array:
    """A column of vectors of one width, float32."""
    import pyarrow as pa

    values = np.zeros((len(rows), width), np.float32)
    missing = np.zeros(len(rows), bool)
    for place, row in enumerate(rows):
        if row is None:
            missing[place] = True
        else:
            values[place] = row
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width, mask=pa.array(missing))


def _errors(answered: Sequence[Answered]) -> pa.Array:
    import pyarrow as pa

    return pa.array([str(it) if isinstance(it, ImageError) else None for it in answered], pa.string())


def _probabilities(logits: FloatArray, model: ViT) -> FloatArray:
    return np.asarray(probabilities(logits, model.probability_kind), np.float32)
