"""MNN on its own format, converted from the traced graph: in float32, and with int8 weights.

With int8 weights, "memory": "low" lets MNN quantize activations while it runs, where it has kernels for that.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final, cast

import numpy as np

from vit_bench.contenders.engine import Engine, FloatPixels, Scores
from vit_bench.contenders.source import Source
from vit_bench.contenders.task import Task
from vit_bench.errors import ContenderError
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact

_CONVERT: Final = "from MNN.tools.mnnconvert import main; main()"
_INT8: Final = ("--weightQuantBits", "8")


def load(task: Task) -> Engine:
    """Loads either of the two."""
    return _Mnn(task)


class _Mnn(FloatPixels):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import MNN

        self._as_variable = MNN.expr.const
        self._layout = MNN.expr.NCHW
        settings = {
            "backend": "CPU",
            "numThread": task.threads,
            "precision": "normal",
            "memory": "low" if task.tool == "mnn-int8" else "normal",
        }
        manager = MNN.nn.create_runtime_manager((settings,))
        # No names: all inputs and outputs, of which there is one each.
        self._net = MNN.nn.load_module_from_file(task.file, [], [], runtime_manager=manager, shape_mutable=False)
        self.version = f"MNN {version('MNN')}"

    def _scores(self, pixels: FloatArray) -> Scores:
        outputs = self._net.forward([self._as_variable(pixels, pixels.shape, self._layout)])
        return cast("Scores", np.array(outputs[0].read()))


def make(file: str, source: Source, artifact: Artifact, target: Path) -> None:  # noqa: ARG001 - one kind of function
    """Converts the traced graph.

    Raises:
        ContenderError: MNN's converter failed; with what it said last.
    """
    command = [sys.executable, "-c", _CONVERT, "-f", "ONNX", "--modelFile", str(Path(source.folder, "traced.onnx"))]
    command += ["--MNNModel", str(target), "--bizCode", "vit-bench", "--transformerFuse", "1"]
    command += _INT8 if file == "int8.mnn" else ()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - ours
    if not target.is_file():
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["nothing"]
        raise ContenderError("mnnconvert", f"failed: {said[-1]}", "")
