"""Finds out, by trying, whether this processor's fast int8 kernels give wrong sums.

On x86 without VNNI or AMX (before about 2019, and many small machines since) onnxruntime multiplies uint8 by int8 with
an instruction that adds pairs of products in 16 bits and cuts off what does not fit. Its option
`session.x64quantprecision` avoids that with slower kernels, but on every x86 processor, even where the fast kernels are
right. So the largest possible product is computed once: its result says more than any list of processors.
"""

from __future__ import annotations

import functools
import zlib
from base64 import b64decode
from typing import Any, Final

import numpy as np

from vit_runtime.devices.engine import import_onnxruntime

_TERMS: Final = 64
_LARGEST: Final = 255 * 127
_PROBE: Final = zlib.decompress(
    b64decode(
        "eNrjYLW6xsElwcWYyMVYLsRYqcTrm1jiW5rjmVeSmp5aJMRYoNXDweHAISDA7MRY7tXAUT8KRsEoGLEgShhYVgjxcfFwMAlxcDFx"
        "MAGxQxJQsBIsyAYXFHBi4WIQ4AIAVKULBQ=="
    )
)
"""An ONNX model, compressed: MatMulInteger of uint8 `a` (2, 64) with int8 weights (64, 16), all 127, to int32 `y`."""


@functools.cache
def int8_products_saturate() -> bool:
    """Whether uint8 255 times int8 127, added up 64 times, comes out wrong on onnxruntime's CPU provider."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"a": np.full((2, _TERMS), 255, np.uint8)})
    return bool((sums != _TERMS * _LARGEST).any())
