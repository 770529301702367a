"""The engine's own speed: one matrix product, in onnxruntime, with nothing around it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from vit_bench.measure.kernels import Shape
from vit_runtime.devices.providers import CPU_PROVIDER
from vit_runtime.devices.session import import_onnxruntime
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
_EMPTY: Final = Shape(kind="fp32", rows=1, inner=1, columns=1)


def require_onnx() -> None:
    """Sees to it that the small models can be made.

    Raises:
        MissingDependencyError: no onnx is installed.
    """
    try:
        import onnx  # noqa: F401 - whether it is there
    except ImportError:
        raise MissingDependencyError("onnx", "vit-edge[bench]") from None


class Peak:
    """Measures one shape, a burst at a time, so that bursts of several can take turns."""

    def __init__(self, shape: Shape, *, threads: int, exact_int8: bool) -> None:
        """Makes the model; `exact_int8` as `vit_runtime.devices.saturation` decides it, for the graph itself."""
        self.shape = shape
        self._threads = threads
        self._exact_int8 = exact_int8
        self._model = product_model(shape).SerializeToString()
        rng = np.random.default_rng(0)
        matrix = (shape.rows, shape.inner)
        self._x: npt.NDArray[np.generic] = (
            rng.integers(0, 256, matrix, dtype=np.uint8)
            if shape.kind == "int8"
            else rng.standard_normal(matrix, dtype=np.float32)
        )
        self._y = np.zeros((shape.rows, shape.columns), np.int32 if shape.kind == "int8" else np.float32)
        self._samples: list[float] = []

    def measure(self, burst_seconds: float) -> None:
        """Runs a burst, so long or for a few products.

        The session lives no longer than that: its workers spin between products, as they do between the kernels of a
        pass, and would disturb whatever is measured next.
        """
        runtime = import_onnxruntime()
        session: ort.InferenceSession = runtime.InferenceSession(
            self._model, self._options(), providers=[CPU_PROVIDER], enable_fallback=0
        )
        binding = session.io_binding()  # so that no output is allocated, as in a pass, which plans its memory
        binding.bind_ortvalue_input("x", runtime.OrtValue.ortvalue_from_numpy(self._x))
        binding.bind_ortvalue_output("y", runtime.OrtValue.ortvalue_from_numpy(self._y))
        session.run_with_iobinding(binding)
        end = time.perf_counter() + burst_seconds
        done = 0
        while done < _FEWEST or time.perf_counter() < end:
            start = time.perf_counter()
            session.run_with_iobinding(binding)
            self._samples.append(time.perf_counter() - start)
            done += 1

    def seconds(self, call: float = 0.0) -> float:
        """10th percentile of the times, less a call's own cost; that is never more than half of it."""
        seconds = float(np.percentile(self._samples, 10))
        return max(seconds - call, seconds / 2)

    def _options(self) -> ort.SessionOptions:
        """As vit_runtime has them, but for spinning: a pass wakes its workers once, not for each product."""
        options = import_onnxruntime().SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 4
        if self._exact_int8:
            options.add_session_config_entry("session.x64quantprecision", "1")
        return options


class Peaks:
    """Measures several shapes in turn, and what calling the engine costs."""

    def __init__(self, shapes: list[Shape], *, threads: int, exact_int8: bool) -> None:
        self._call = Peak(_EMPTY, threads=threads, exact_int8=exact_int8)
        self._peaks = [Peak(shape, threads=threads, exact_int8=exact_int8) for shape in shapes]

    def measure(self, seconds: float) -> None:
        """Runs one burst of each, in so much time altogether; a burst lasts at least 10 ms."""
        self._call.measure(_SHORTEST)
        for peak in self._peaks:
            peak.measure(max(_SHORTEST, seconds / len(self._peaks)))

    def speeds(self) -> dict[Shape, float]:
        """Operations a second, at the 90th percentile."""
        call = self._call.seconds()
        return {peak.shape: peak.shape.operations / peak.seconds(call) for peak in self._peaks}


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
