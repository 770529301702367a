"""One artifact beside what its engine can do, in a process of its own, and where the rest goes.

Run as `python -m vit_bench.limit_worker`, with a `LimitTask` as JSON on its standard input. It prints a `Limit`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

import vit_runtime
from vit_bench import system
from vit_bench.kernels import Pass, Shape, group_seconds, linear_products, read_passes
from vit_bench.operations import architecture_operations
from vit_bench.peak import Peaks, require_onnx
from vit_bench.results import Contender, Kernel, Limit, Product
from vit_bench.task import tell
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import codec
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.session import CPU_PROVIDER, import_onnxruntime, session_options
from vit_runtime.errors import VitEdgeError

if TYPE_CHECKING:
    import onnxruntime as ort

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
    """An artifact in a session of its own under onnxruntime's profiler."""

    def __init__(self, task: LimitTask, *, exact_int8: bool) -> None:
        self._task = task
        self._exact_int8 = exact_int8
        self._session: ort.InferenceSession | None = None

    def __enter__(self) -> _Profiled:
        runtime = import_onnxruntime()
        options = session_options(self._task.threads, exact_int8=self._exact_int8)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._task.folder) / "profile")
        self._session = runtime.InferenceSession(self._task.file, options, providers=[CPU_PROVIDER], enable_fallback=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._session.end_profiling()
            self._session = None

    def run(self, pixels: UInt8Array) -> None:
        """One pass, to all outputs."""
        if self._session is not None:
            self._session.run(None, {"pixels": pixels})

    def passes(self) -> list[Pass]:
        """Ends the profile and gives its passes."""
        if self._session is None:
            return []
        file = self._session.end_profiling()
        self._session = None
        passes = read_passes(Path(file))
        Path(file).unlink()
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


def main() -> None:
    """Measures one artifact."""
    system.say_errors_in_utf8()
    task = codec.decode(LimitTask, json.load(sys.stdin))
    try:
        limit = measure_limit(task)
    except VitEdgeError as error:
        raise SystemExit(f"error: {error}") from None
    tell(json.dumps(codec.encode(limit)))


if __name__ == "__main__":
    main()
