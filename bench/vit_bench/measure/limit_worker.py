"""One artifact beside what its engine can do, in a process of its own, and where the rest goes.

Run as `python -m vit_bench.measure.limit_worker`, with a `LimitTask` as JSON on its standard input. Prints a `Limit`.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

import vit_runtime
from vit_bench.measure.kernels import Pass, Shape, group_seconds, linear_products, read_passes
from vit_bench.measure.operations import architecture_operations
from vit_bench.measure.peak import Peaks, require_onnx
from vit_bench.measure.task import tell_document, work_as_told
from vit_bench.results import Contender, Kernel, Limit, Product
from vit_runtime.arrays import UInt8Array
from vit_runtime.devices.providers import CPU_PROVIDER
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.session import import_onnxruntime, session_options

BETWEEN: Final = "between kernels"
_PASSES: Final = 3
"""In a round, of each of the two sessions; the first finds the other's weights in the caches, and does not count."""
_FEWEST_ROUNDS: Final = 2
_MOST_KERNELS: Final = 60_000
"""In one profile: a file of some 30 MB."""


@dataclass(frozen=True, kw_only=True)
class LimitTask:
    """What to measure."""

    file: str
    """The artifact; on the CPU."""
    contender: Contender
    """Who it is in the results."""
    threads: int
    batch: int
    """Pictures in one pass."""
    folder: str
    """For the profiler's files; whoever made it deletes it, also where this process is killed."""
    seconds: float
    """How long to measure, loading not counted; four passes of each kind and two bursts of each product are measured
    whatever it is."""


def measure_limit(task: LimitTask) -> Limit:
    """Measures an artifact: the pass, its kernels, and its linear layers' products alone, in turn.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
        ArtifactError: the file is missing, damaged, or no artifact that runs here.
        UsageError: the number of threads is below 1.
        ProviderError: onnxruntime failed, most often for want of memory.
    """
    threads = task.threads
    require_onnx()
    model = vit_runtime.load(task.file, provider="cpu", threads=threads)
    exact_int8 = model.artifact.precision == "int8" and int8_products_saturate()
    shape = (task.batch, *model.artifact.preprocessing.crop_hw, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    model.run(pixels)
    with _Profiled(task, exact_int8=exact_int8) as profiled:
        profiled.run(pixels)
        (graph,) = profiled.passes()
    counts = Counter(linear_products(graph))
    peaks = Peaks(list(dict.fromkeys(product for _, product in counts)), threads=threads, exact_int8=exact_int8)

    plain: list[float] = []
    with _Profiled(task, exact_int8=exact_int8) as profiled:
        most = max(_FEWEST_ROUNDS, _MOST_KERNELS // (_PASSES * len(graph)))
        start = time.perf_counter()
        for done in range(1, most + 1):
            began = time.perf_counter()
            plain += _time_passes(model, pixels)
            for _ in range(_PASSES):
                profiled.run(pixels)
            peaks.measure((time.perf_counter() - began) / 2)
            spent = time.perf_counter() - start
            if done >= _FEWEST_ROUNDS and spent + spent / done > task.seconds:
                break
        passes = [each for number, each in enumerate(profiled.passes()) if number % _PASSES]

    pass_seconds = statistics.median(plain)
    speeds = peaks.speeds()
    return Limit(
        contender=task.contender,
        batch=task.batch,
        threads=threads,
        operations=sum(kernel.operations for kernel in graph),
        architecture_operations=task.batch * architecture_operations(model.artifact.architecture),
        pass_seconds=pass_seconds,
        floor_seconds=sum(times * product.operations / speeds[product] for (_, product), times in counts.items()),
        products=_products(counts, speeds),
        kernels=_kernels(graph, group_seconds(passes), speeds, pass_seconds),
    )


def _time_passes(model: vit_runtime.ViT, pixels: UInt8Array) -> list[float]:
    model.run(pixels)
    times = []
    for _ in range(_PASSES - 1):
        start = time.perf_counter()
        model.run(pixels)
        times.append(time.perf_counter() - start)
    return times


class _Profiled:
    """An artifact in a session of its own under onnxruntime's profiler, which ends with the block at the latest."""

    def __init__(self, task: LimitTask, *, exact_int8: bool) -> None:
        runtime = import_onnxruntime()
        options = session_options(task.threads, exact_int8=exact_int8)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(task.folder) / "profile")
        self._session = runtime.InferenceSession(task.file, options, providers=[CPU_PROVIDER], enable_fallback=0)
        self._ended = False

    def __enter__(self) -> _Profiled:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            self._session.end_profiling()

    def run(self, pixels: UInt8Array) -> None:
        """One pass, to all outputs."""
        self._session.run(None, {"pixels": pixels})

    def passes(self) -> list[Pass]:
        """Ends the profile and gives its passes."""
        self._ended = True
        file = Path(self._session.end_profiling())
        del self._session  # with its weights and its threads
        passes = read_passes(file)
        file.unlink()
        return passes


def _products(counts: Counter[tuple[str, Shape]], speeds: dict[Shape, float]) -> tuple[Product, ...]:
    return tuple(
        Product(
            layer=layer,
            kind=shape.kind,
            rows=shape.rows,
            inner=shape.inner,
            columns=shape.columns,
            times=times,
            peak=speeds[shape],
        )
        for (layer, shape), times in counts.items()
    )


def _kernels(
    graph: Pass, seconds: dict[str, float], speeds: dict[Shape, float], pass_seconds: float
) -> tuple[Kernel, ...]:
    """The table's rows; what the un-profiled pass takes beyond them is between kernels."""
    operations: defaultdict[str, int] = defaultdict(int)
    at_peak: defaultdict[str, float] = defaultdict(float)
    for kernel in graph:
        operations[kernel.group] += kernel.operations
        if kernel.product is not None:
            at_peak[kernel.group] += kernel.operations / speeds[kernel.product]
    rows = dict(seconds) | {BETWEEN: max(0.0, pass_seconds - sum(seconds.values()))}
    whole = sum(rows.values())
    kernels = [
        Kernel(
            name=name,
            seconds=taken,
            share=taken / whole,
            operations=operations[name],
            peak_share=at_peak[name] / taken if at_peak[name] and taken else None,
        )
        for name, taken in rows.items()
    ]
    return tuple(sorted(kernels, key=lambda kernel: -kernel.seconds))


if __name__ == "__main__":
    work_as_told(LimitTask, lambda task: tell_document(measure_limit(task)))
