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
    """Puts a picture's path and embedding into one line of JSON, with nine digits: enough to restore every bit."""
    return json.dumps({"image": str(path), "embedding": [float(f"{value:.9g}") for value in embedding]})


def write_json_lines(path: Path, rows: Iterable[tuple[Path, FloatArray]]) -> int:
    """Writes one line for each picture, as pictures come, and returns the number of lines.

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
    """Writes a file of float32 (pictures, width) that `numpy.load` reads.

    Raises:
        OutputFileError: the file cannot be written.
    """
    with atomic_write(path) as file:
        np.save(file, np.stack(rows))


def nearest(query: FloatArray, others: FloatArray, count: int) -> list[tuple[int, float]]:
    """Finds the `count` rows of `others` (N, width) that are most like `query` (width,); all must have length 1.

    Gives each row's number and its cosine to `query`, best first.
    """
    cosines = others @ query
    return [(int(index), float(cosines[index])) for index in np.argsort(-cosines, kind="stable")[:count]]
