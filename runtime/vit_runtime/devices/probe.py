"""A matrix product so small that any provider computes it at once, and so plain that none has an excuse."""

from __future__ import annotations

import zlib
from base64 import b64decode
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import onnxruntime as ort

_INNER: Final = 64
_COLUMNS: Final = 8
PROBE: Final = zlib.decompress(
    b64decode(
        "eNrj4BBisLonwCXFxVjBxVguxFgpxV5QlJ9SmlyixOabWOJbmiPEChRIStXqEeBw4OAQYHRiLPdqEGBgYDjIwNCwn4HhgAOQPsDA"
        "4ACkHwBpEHgAZDsA2Q1A+gCItgcKOgIxkL0AKLYApM5h1IxRM0bNGDVj1IxRM0bNGFpmRIkAWwxC/Fy8HIxCnFzMQox+XEwcDklA"
        "0Up0UQ4nFi4GAUEAR5fV+w=="
    )
)
"""An ONNX model, compressed: MatMul of float32 `x` (N, 64) with weights (64, 8), to float32 `y` (N, 8).

The weights are 7·i modulo 17, less 8, counting i row by row.
"""


def probe_is_right(session: ort.InferenceSession) -> bool:
    """Whether a session of `PROBE` multiplies right; all numbers are small and whole, which half precision holds."""
    x = (np.arange(2 * _INNER, dtype=np.float32) % 5 - 2).reshape(2, _INNER)
    weights = (np.arange(_INNER * _COLUMNS) * 7 % 17 - 8).reshape(_INNER, _COLUMNS)
    (y,) = session.run(None, {"x": x})
    return bool(np.array_equal(y, x @ weights))
