"""Turns rows of float32 into the records of an index, and back."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vit_runtime.arrays import FloatArray
from vit_runtime.searching.layout import Numbers

_LARGEST: Final = 127


def pack(rows: FloatArray, numbers: Numbers) -> bytes:
    """Makes records of rows (N, width) of length 1.

    int8 is symmetric, with a scale for each row: codes are round(127 x / max |x|), and the scale is one over their
    length. So scale times codes has length 1 again, and no cosine is over 1. A row of zeros gets scale 0.
    """
    if numbers == "float32":
        return np.ascontiguousarray(rows, "<f4").tobytes()
    largest = np.abs(rows).max(axis=1, keepdims=True)
    codes = np.rint(_LARGEST * (rows / np.where(largest > 0, largest, 1)))
    lengths = np.linalg.norm(codes.astype(np.float64), axis=1)
    records = np.empty(len(rows), [("scale", "<f4"), ("codes", "i1", rows.shape[1:])])
    records["codes"] = codes
    records["scale"] = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return records.tobytes()


def unpack(records: npt.NDArray[Any]) -> FloatArray:
    """Gives the rows of records, float32 (N, width); a view where they are kept in float32."""
    if records.dtype.names is None:
        return records
    scaled: FloatArray = records["codes"] * records["scale"][:, None]
    return scaled
