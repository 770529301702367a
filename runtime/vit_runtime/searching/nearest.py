"""Finds the rows with the largest cosines, a part of the rows at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vit_runtime.arrays import FloatArray

Rows = npt.NDArray[np.int64]

_NUMBERS: Final = 256 << 10
"""Numbers in one product. As float32 they stay in a core's cache, and BLAS starts no threads, which gain little: a
query waits for memory. On busy cores they cost twenty times as much (docs/log.md)."""
_COSINES: Final = 256 << 10
"""Cosines that are held at a time."""


def nearest(
    records: npt.NDArray[Any],
    queries: FloatArray,
    count: int,
    dropped: Rows,
    check: Callable[[int, FloatArray], None],
) -> list[tuple[Rows, FloatArray]]:
    """Gives the `count` best rows and their cosines for each of the queries (Q, width), best first, ties by lower row.

    Args:
        records: all rows of an index, as `rows.pack` makes them.
        queries: rows of length 1.
        count: most rows for each query.
        dropped: numbers of rows to leave out, ascending.
        check: is given each part's cosines (n, Q), with the number of its first row; raises where they cannot be.
    """
    best = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    if not len(queries):
        return best
    columns = np.ascontiguousarray(queries.T)
    step = max(1, _COSINES // len(queries))
    for start in range(0, len(records), step):
        with np.errstate(over="ignore", invalid="ignore"):  # `check` tells of NaN and infinity
            cosines = _cosines(records[start : start + step], columns)
        check(start, cosines)
        first, last = np.searchsorted(dropped, (start, start + len(cosines)))
        cosines[dropped[first:last] - start] = -np.inf
        best = [_better(kept, start, cosines[:, query], count) for query, kept in enumerate(best)]
    return best


def _cosines(records: npt.NDArray[Any], columns: FloatArray) -> FloatArray:
    """Products (n, Q) of records (n,) and columns (width, Q)."""
    cosines = np.empty((len(records), columns.shape[1]), np.float32)
    step = max(1, _NUMBERS // len(columns))
    if records.dtype.names is None:
        for start in range(0, len(records), step):
            np.matmul(records[start : start + step], columns, out=cosines[start : start + step])
        return cosines
    codes, floats = records["codes"], np.empty((step, len(columns)), np.float32)
    for start in range(0, len(records), step):
        rows = floats[: len(records) - start]
        np.copyto(rows, codes[start : start + step])
        np.matmul(rows, columns, out=cosines[start : start + step])
    cosines *= records["scale"][:, None]
    return cosines


def _better(kept: tuple[Rows, FloatArray], start: int, cosines: FloatArray, count: int) -> tuple[Rows, FloatArray]:
    """Takes what is better than the worst that is kept; rows that come later lose a tie."""
    rows, values = kept
    least = values[-1] if len(values) == count else -np.inf
    new = np.flatnonzero(cosines > least)
    if not len(new):
        return kept
    if len(new) > count:  # all that equal the last one stay, for the stable sort to choose from
        among = cosines[new]
        new = new[among >= np.partition(among, len(among) - count)[len(among) - count]]
    values = np.concatenate([values, cosines[new]])
    order = np.argsort(-values, kind="stable")[:count]
    return np.concatenate([rows, new + start])[order], values[order]
