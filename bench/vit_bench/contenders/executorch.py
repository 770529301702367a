"""ExecuTorch with XNNPACK, as its documentation does it: in float32, and in int8 with activations quantized as it runs.

Static int8 was tried too: it keeps fewer answers and is no faster (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import cast

from vit_bench.contenders.engine import Engine, FloatPixels, Scores
from vit_bench.contenders.source import WEIGHTS, Source
from vit_bench.contenders.task import Task
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact


def load(task: Task) -> Engine:
    """Loads either of the two."""
    return _ExecuTorch(task)


class _ExecuTorch(FloatPixels):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(task.threads)  # noqa: SLF001 - the documentation's way to set threads
        self._as_tensor = torch.from_numpy
        self._method = Runtime.get().load_program(task.file).load_method("forward")
        self.version = f"ExecuTorch {version('executorch')}"

    def _scores(self, pixels: FloatArray) -> Scores:
        return cast("Scores", self._method.execute([self._as_tensor(pixels)])[0].numpy())


def make(file: str, source: Source, artifact: Artifact, target: Path) -> None:
    """Lowers the model to XNNPACK."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from vit_bench.contenders.torch_model import load_model

    model, _ = load_model(artifact.architecture, Path(source.folder, WEIGHTS))
    size = artifact.architecture.image_size
    example = (torch.zeros(source.batch, 3, size, size),)
    exported = torch.export.export(model.eval(), example)
    if file == "int8.pte":
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = XNNPACKQuantizer()
        quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True))
        prepared = prepare_pt2e(exported.module(), quantizer)
        with torch.no_grad():
            prepared(*example)
        exported = torch.export.export(convert_pt2e(prepared), example)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    target.write_bytes(lowered.buffer)
