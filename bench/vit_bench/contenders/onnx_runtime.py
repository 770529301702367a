"""Plain onnxruntime on the traced graph, as a script would use it.

Three contenders: the graph as it is; after onnxruntime's own optimizer for transformers; in int8 by `quantize_dynamic`.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from vit_bench.contenders.engine import Engine, FloatPixels, Scores
from vit_bench.contenders.source import Source
from vit_bench.contenders.task import Task
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact
from vit_runtime.devices.engine import import_onnxruntime


def load(task: Task) -> Engine:
    """Loads one of the three."""
    return _OnnxRuntime(task)


class _OnnxRuntime(FloatPixels):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = task.threads
        self._session = runtime.InferenceSession(task.file, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.version = f"onnxruntime {runtime.__version__}"

    def _scores(self, pixels: FloatArray) -> Scores:
        return cast("Scores", self._session.run(None, {self._input: pixels})[0])


def make(file: str, source: Source, artifact: Artifact, target: Path) -> None:
    """Makes the optimized or the quantized graph from the traced one."""
    traced = Path(source.folder, "traced.onnx")
    if file == "optimized.onnx":
        _optimize(traced, artifact, target)
    else:
        _quantize(traced, target)


def _optimize(traced: Path, artifact: Artifact, target: Path) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    arch = artifact.architecture
    optimize_model(str(traced), model_type="vit", num_heads=arch.heads, hidden_size=arch.width).save_model_to_file(
        str(target)
    )


def _quantize(traced: Path, target: Path) -> None:
    """Quantizes as onnxruntime's documentation says: preprocessed first, int8 weights by output channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(str(traced), str(prepared))
    quantize_dynamic(prepared, target, weight_type=QuantType.QInt8, per_channel=True)
    prepared.unlink()
