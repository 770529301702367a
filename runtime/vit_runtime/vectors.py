"""Embeddings in files, and the pictures that are most alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.files import atomic_write

VECTOR_SUFFIXES: Final = (".npy", ".jsonl")


def normalized(embeddings: FloatArray) -> FloatArray:
    """Rows (N, width) scaled to length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths > 0, lengths, 1), np.float32)


def json_line(path: Path, embedding: FloatArray) -> str:
    """A picture's path and embedding as one line of JSON, with the nine digits that bring back every bit."""
    return json.dumps({"image": str(path), "embedding": [float(f"{value:.9g}") for value in embedding]})


def write_json_lines(path: Path, rows: Iterable[tuple[Path, FloatArray]]) -> int:
    """Writes a line a picture as they come; the number of lines.

    Raises:
        OutputFileError: the file cannot be written.
    """
    count = 0
    with atomic_write(path) as file:
        for picture, embedding in rows:
            file.write(json_line(picture, embedding).encode() + b"\n")
            count += 1
    return count


def write_npy(path: Path, rows: list[FloatArray]) -> None:
    """Writes float32 (pictures, width), as `numpy.load` reads it.

    Raises:
        OutputFileError: the file cannot be written.
    """
    with atomic_write(path) as file:
        np.save(file, np.stack(rows))


def nearest(query: FloatArray, others: FloatArray, count: int) -> list[tuple[int, float]]:
    """The rows of `others` (N, width) with the largest cosine to `query` (width,), best first; all of length 1."""
    cosines = others @ query
    return [(int(index), float(cosines[index])) for index in np.argsort(-cosines, kind="stable")[:count]]
