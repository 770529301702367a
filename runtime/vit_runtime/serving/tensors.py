"""Tensors of the open inference protocol: in JSON, or as bytes behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import numpy as np

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.serving.refusals import Refusal

_SIZE_KEY: Final = "binary_data_size"


@dataclass(frozen=True)
class Shape:
    """What the input has to be: N pictures of one height and width."""

    height: int
    width: int
    most: int
    """Most pictures."""


def pixels_of(tensor: Any, binary: memoryview, shape: Shape) -> UInt8Array:
    """Gives the input "pixels", uint8 (N, H, W, 3), of a request's only input.

    Args:
        tensor: the input as JSON describes it.
        binary: what follows the JSON.
        shape: what it has to be.

    Raises:
        Refusal: it is anything else.
    """
    if not isinstance(tensor, dict):
        raise _bad("an input should be an object with name, shape, datatype and data")
    if tensor.get("name") != "pixels":
        raise _bad(f"input {str(tensor.get('name'))[:40]!r} is unknown; there is 'pixels'")
    if tensor.get("datatype") != "UINT8":
        raise _bad(f"datatype {str(tensor.get('datatype'))[:40]!r} of 'pixels' should be UINT8")
    wanted = _checked_shape(tensor.get("shape"), shape)
    parameters = tensor.get("parameters")
    size = parameters.get(_SIZE_KEY) if isinstance(parameters, dict) else None
    if size is None:
        return _of_json(tensor.get("data"), wanted)
    if not isinstance(size, int) or size != len(binary) or size != math.prod(wanted):
        raise _bad(f"{_SIZE_KEY} {str(size)[:40]} does not fit shape {list(wanted)} and {len(binary)} bytes")
    if "data" in tensor:
        raise _bad("'pixels' has both data and binary data")
    return np.frombuffer(binary, np.uint8).reshape(wanted)


def _checked_shape(found: Any, shape: Shape) -> tuple[int, int, int, int]:
    is_list = isinstance(found, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in found)
    if not is_list or found[1:] != [shape.height, shape.width, 3] or not found[0] > 0:
        told = f"shape {str(found)[:60]} of 'pixels' should be [N, {shape.height}, {shape.width}, 3]"
        raise _bad(told)
    if found[0] > shape.most:
        told = f"{str(found[0])[:20]} pictures in a request, and {shape.most} are allowed"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
    return found[0], shape.height, shape.width, 3


def _of_json(data: Any, wanted: tuple[int, ...]) -> UInt8Array:
    """Data may be flat or nested."""
    try:
        values = np.array(data)
    except (ValueError, OverflowError):  # rows of different lengths, or numbers beyond 64 bits
        values = np.array(None)
    if values.dtype.kind not in "iu" or values.shape not in (wanted, (math.prod(wanted),)):
        raise _bad(f"data of 'pixels' should be whole numbers, flat or of shape {list(wanted)}")
    if values.min() < 0 or values.max() > np.iinfo(np.uint8).max:
        raise _bad("data of 'pixels' should be from 0 to 255")
    return values.astype(np.uint8).reshape(wanted)


def described(name: str, values: FloatArray, *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """An output, float32 (N, ...), as JSON describes it, and what follows the JSON."""
    tensor: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
    if binary:
        content = np.ascontiguousarray(values, "<f4").tobytes()
        return tensor | {"parameters": {_SIZE_KEY: len(content)}}, content
    return tensor | {"data": [float(f"{value:.9g}") for value in values.ravel().tolist()]}, b""


def flag(where: Any, name: str) -> bool | None:
    """A parameter that is true or false; None where it is not given.

    Raises:
        Refusal: it is something else.
    """
    parameters = where.get("parameters") if isinstance(where, dict) else None
    value = parameters.get(name) if isinstance(parameters, dict) else None
    if value is not None and not isinstance(value, bool):
        raise _bad(f"{name} should be true or false")
    return value


def stacked(rows: Sequence[Sequence[FloatArray]], at: int) -> FloatArray:
    """One output of all pictures, float32 (N, ...)."""
    return np.stack([row[at] for row in rows])


def _bad(line: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, line)
