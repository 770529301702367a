"""Takes a batch of Ray Data apart: the pictures, and the columns that stay."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vit_runtime.errors import ImageError, UsageError
from vit_runtime.pictures.reading import ImageSource, source_name
from vit_runtime.ray.kinds import Pictures

if TYPE_CHECKING:
    import pyarrow as pa

Batch: TypeAlias = "Mapping[str, np.ndarray[Any, Any]] | pa.Table"
"""A batch as Ray gives it with `batch_format="numpy"`, which is its default, or with "pyarrow"."""


def pictures_of(batch: Batch, column: str, kind: Pictures) -> list[ImageSource | ImageError]:
    """Gives the pictures of a batch, in order; what is not of the kind that the column should hold becomes an error.

    So a name of a file among encoded pictures is not opened, wherever the batch comes from.

    Raises:
        UsageError: the batch is no batch, or has no such column.
    """
    names = _names(batch)
    if column not in names:
        raise UsageError("column", f"the batch has no '{column}'", f"it has {', '.join(map(repr, names)) or 'none'}")
    return [_checked(value, kind) for value in _values(batch, column)]


def kept_columns(batch: Batch, without: str | None) -> pa.Table:
    """Gives the batch's columns as a table of Arrow, all but one.

    Raises:
        UsageError: a column has Python objects that Arrow cannot hold.
    """
    import pyarrow as pa

    if isinstance(batch, pa.Table):
        return batch.drop_columns([without]) if without is not None else batch
    return pa.table({name: _as_arrow(name, values) for name, values in batch.items() if name != without})


def with_columns(table: pa.Table, names: Sequence[str], columns: Sequence[pa.Array]) -> pa.Table:
    """Adds columns to a table; one that has no columns has lost its number of rows, and takes any."""
    import pyarrow as pa

    fields = [pa.field(name, values.type) for name, values in zip(names, columns, strict=True)]
    schema = pa.schema([*table.schema, *fields], metadata=table.schema.metadata)
    return pa.Table.from_arrays([*table.columns, *columns], schema=schema)


def _names(batch: Batch) -> list[str]:
    import pyarrow as pa

    if isinstance(batch, pa.Table):
        return list(batch.column_names)
    if isinstance(batch, Mapping):
        return list(batch)
    remedy = 'give map_batches batch_format="pyarrow"'
    raise UsageError("batch", f"is a {type(batch).__name__}, and no table and no dict of arrays", remedy)


def _values(batch: Batch, column: str) -> list[Any]:
    """Gives a column as a list: bytes as views of Arrow's memory, decoded pictures as arrays."""
    import pyarrow as pa

    if not isinstance(batch, pa.Table):
        return list(batch[column])
    values = batch.column(column)
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return [memoryview(scalar.as_buffer()) if scalar.is_valid else None for scalar in values]
    if isinstance(values.type, pa.ExtensionType):  # Ray's tensors
        return [picture for chunk in values.chunks for picture in _tensors(chunk)]
    return list(values.to_pylist())


def _tensors(chunk: Any) -> list[Any]:
    to_numpy = getattr(chunk, "to_numpy_ndarray", None) or chunk.to_numpy
    return list(to_numpy())


def _checked(value: Any, kind: Pictures) -> ImageSource | ImageError:
    if kind == "bytes" and isinstance(value, (bytes, bytearray, memoryview)):
        return value
    if kind == "paths" and isinstance(value, (str, os.PathLike)):
        return value
    if kind == "arrays" and isinstance(value, np.ndarray):
        return value
    found = "no value" if value is None else f"'{source_name(value)}'"
    return ImageError(found, f"stands where {kind} should be")


def _as_arrow(name: str, values: np.ndarray[Any, Any]) -> pa.Array:
    """Turns a column into Arrow's; arrays of more axes become lists of one length."""
    import pyarrow as pa

    values = np.asarray(values)
    if values.ndim > 1:
        flat = values.reshape(len(values) * values.shape[1], *values.shape[2:])
        return pa.FixedSizeListArray.from_arrays(_as_arrow(name, flat), values.shape[1])
    try:
        return pa.array(values.tolist() if values.dtype.kind == "O" else values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        what = f"column '{name}' has values that Arrow cannot hold"
        raise UsageError("batch", what, "drop it before map_batches") from error
