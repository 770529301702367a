"""Embeddings: their length, and files of them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.files import atomic_write


def normalized(embeddings: FloatArray) -> FloatArray:
    """Rows (N, width) scaled to length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths > 0, lengths, 1), np.float32)


def numbers(embedding: FloatArray) -> list[float]:
    """The values of an embedding with nine digits, for text files: enough to restore every bit."""
    return [float(f"{value:.9g}") for value in embedding]


def write_npy(path: Path, rows: Iterable[FloatArray], width: int) -> int:
    """Writes a file of float32 (pictures, width) that `numpy.load` reads, row by row; gives the number of rows.

    Raises:
        OutputFileError: the file cannot be written.
    """
    count = 0
    with atomic_write(path) as file:
        start = file.write(_npy_header(0, width))
        for row in rows:
            file.write(np.ascontiguousarray(row, "<f4").data)
            count += 1
        file.seek(0)
        # NumPy leaves room for more digits in the header.
        assert file.write(_npy_header(count, width)) == start  # noqa: S101
    return count


def _npy_header(count: int, width: int) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (count, width)})
    return header.getvalue()
