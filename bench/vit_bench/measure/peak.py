"""The engine's own speed: one matrix product, in onnxruntime, with nothing around it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from vit_bench.measure.kernels import Shape
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.providers import CPU_PROVIDER
from vit_runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    import onnx
    import onnxruntime as ort

_FEWEST: Final = 6
"""Products in one burst."""
_SHORTEST: Final = 0.01
"""Seconds of a burst."""
_OPSET: Final = 17
_IR_VERSION: Final = 8
_MIDDLE: Final = 128
"""Zero point of uint8 activations."""
_CALL: Final = Shape(kind="fp32", rows=1, inner=1, columns=1)
"""A product so small that calling the engine is all that takes time."""


def require_onnx() -> None:
    """Sees to it that the small models can be made.

    Raises:
        MissingDependencyError: no onnx is installed.
    """
    try:
        import onnx  # noqa: F401 - whether it is there
    except ImportError:
        raise MissingDependencyError("onnx", "vit-edge[bench]") from None


class Peaks:
    """Measures several shapes, a burst of each in turn, and what calling the engine costs."""

    def __init__(self, shapes: Sequence[Shape], *, threads: int, exact_int8: bool) -> None:
        """Makes the models; `exact_int8` as `vit_runtime.devices.saturation` decides it, for the graph itself."""
        self._shapes = shapes
        # Options as vit_runtime has them, but for spinning: a pass wakes its workers once, not for each product.
        self._options = import_onnxruntime().SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 4
        if exact_int8:
            self._options.add_session_config_entry("session.x64quantprecision", "1")
        self._work = {
            shape: (product_model(shape).SerializeToString(), *_matrices(shape)) for shape in (_CALL, *shapes)
        }
        self._samples: dict[Shape, list[float]] = {shape: [] for shape in self._work}

    def measure(self, seconds: float) -> None:
        """Runs one burst of each, in so much time altogether; a burst lasts at least 10 ms."""
        self._burst(_CALL, _SHORTEST)
        for shape in self._shapes:
            self._burst(shape, max(_SHORTEST, seconds / len(self._shapes)))

    def speeds(self) -> dict[Shape, float]:
        """Operations a second, at the 90th percentile; a call's own cost is taken off, never more than half."""
        seconds = {shape: float(np.percentile(samples, 10)) for shape, samples in self._samples.items()}
        call = seconds[_CALL]
        return {shape: shape.operations / max(seconds[shape] - call, seconds[shape] / 2) for shape in self._shapes}

    def _burst(self, shape: Shape, seconds: float) -> None:
        """Runs a product for so long or a few times.

        The session lives no longer than that: its workers spin between products, as they do between the kernels of a
        pass, and would disturb whatever is measured next.
        """
        runtime = import_onnxruntime()
        model, x, y = self._work[shape]
        session: ort.InferenceSession = runtime.InferenceSession(
            model, self._options, providers=[CPU_PROVIDER], enable_fallback=0
        )
        binding = session.io_binding()  # so that no output is allocated, as in a pass, which plans its memory
        binding.bind_ortvalue_input("x", runtime.OrtValue.ortvalue_from_numpy(x))
        binding.bind_ortvalue_output("y", runtime.OrtValue.ortvalue_from_numpy(y))
        session.run_with_iobinding(binding)
        end = time.perf_counter() + seconds
        done = 0
        while done < _FEWEST or time.perf_counter() < end:
            start = time.perf_counter()
            session.run_with_iobinding(binding)
            self._samples[shape].append(time.perf_counter() - start)
            done += 1


def _matrices(shape: Shape) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """What goes in, (rows, inner), and the place for what comes out, (rows, columns)."""
    rng = np.random.default_rng(0)
    into, out = (shape.rows, shape.inner), (shape.rows, shape.columns)
    if shape.kind == "int8":
        return rng.integers(0, 256, into, dtype=np.uint8), np.zeros(out, np.int32)
    return rng.standard_normal(into, dtype=np.float32), np.zeros(out, np.float32)


def product_model(shape: Shape) -> onnx.ModelProto:
    """One product; its weights are an initializer, so that they are packed once, as in a model."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    matrix = (shape.inner, shape.columns)
    if shape.kind == "int8":
        # Zero points as the exported graph has them: the switch to exact kernels wants the weights' said.
        weights: dict[str, npt.NDArray[np.generic]] = {
            "w": rng.integers(-127, 128, matrix, dtype=np.int8),
            "x_zero_point": np.array(_MIDDLE, np.uint8),
            "w_zero_point": np.array(0, np.int8),
        }
        operator, x_type, y_type = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
    else:
        weights = {"w": rng.standard_normal(matrix, dtype=np.float32)}
        operator, x_type, y_type = "MatMul", TensorProto.FLOAT, TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *weights], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", x_type, (shape.rows, shape.inner))],
        [helper.make_tensor_value_info("y", y_type, (shape.rows, shape.columns))],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
