"""How far one artifact is from what its engine can do, and where the rest goes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np

import vit_runtime
from vit_bench.kernels import Pass, Shape, group_seconds, linear_products, read_passes
from vit_bench.operations import architecture_operations
from vit_bench.peak import Peaks, require_onnx
from vit_bench.results import Contender, Kernel, Limit, Product
from vit_runtime.arrays import UInt8Array
from vit_runtime.saturation import int8_products_saturate
from vit_runtime.session import CPU_PROVIDER, import_onnxruntime, session_options

if TYPE_CHECKING:
    import onnxruntime as ort

BETWEEN: Final = "between kernels"
_PASSES: Final = 3
"""In a round, of each of the two sessions; the first finds the other's weights in the caches, and does not count."""
_FEWEST_ROUNDS: Final = 2
_MOST_KERNELS: Final = 60_000
"""In one profile: a file of some 30 MB."""


def measure_limit(
    path: Path,
    *,
    contender: Contender,
    threads: int,
    batch: int,
    seconds: float,
    advance: Callable[[str], None],
) -> Limit:
    """Measures an artifact on the CPU: the pass, its kernels, and its linear layers' products alone, in turn.

    Args:
        path: the .onnx file.
        contender: who it is in the results.
        threads: processor cores, at least 1.
        batch: pictures in one pass, at least 1.
        seconds: how long to measure, loading not counted; four passes of each kind and two bursts of each product are
            measured whatever it is.
        advance: is told what comes next, in a few words.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
        ArtifactError: the file is missing, damaged, or no artifact that runs here.
        UsageError: the number of threads is below 1.
        ProviderError: onnxruntime failed, most often for want of memory.
    """
    require_onnx()
    advance("loading")
    model = vit_runtime.load(path, provider="cpu", threads=threads)
    exact_int8 = model.artifact.precision == "int8" and int8_products_saturate()
    shape = (batch, *model.artifact.preprocessing.crop_hw, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    model.run(pixels)
    advance("finding the matrix products")
    with _Profiled(path, threads=threads, exact_int8=exact_int8) as profiled:
        profiled.run(pixels)
        (graph,) = profiled.passes()
    counts = Counter(linear_products(graph))
    peaks = Peaks(list(dict.fromkeys(product for _, product in counts)), threads=threads, exact_int8=exact_int8)

    plain: list[float] = []
    with _Profiled(path, threads=threads, exact_int8=exact_int8) as profiled:
        most = max(_FEWEST_ROUNDS, _MOST_KERNELS // (_PASSES * len(graph)))
        advance("measuring passes, kernels and products in rounds")
        start = time.perf_counter()
        for done in range(1, most + 1):
            began = time.perf_counter()
            plain += _time_passes(model, pixels)
            for _ in range(_PASSES):
                profiled.run(pixels)
            peaks.measure((time.perf_counter() - began) / 2)
            spent = time.perf_counter() - start
            if done >= _FEWEST_ROUNDS and spent + spent / done > seconds:
                break
        advance("reading the profile")
        passes = [each for number, each in enumerate(profiled.passes()) if number % _PASSES]

    pass_seconds = statistics.median(plain)
    speeds = peaks.speeds()
    return Limit(
        contender=contender,
        batch=batch,
        threads=threads,
        operations=sum(kernel.operations for kernel in graph),
        architecture_operations=batch * architecture_operations(model.artifact.architecture),
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
    """An artifact in a session of its own under onnxruntime's profiler; its file is gone when the context ends."""

    def __init__(self, path: Path, *, threads: int, exact_int8: bool) -> None:
        self._path = path
        self._threads = threads
        self._exact_int8 = exact_int8
        self._folder = tempfile.TemporaryDirectory(prefix="vit-bench-")
        self._session: ort.InferenceSession | None = None

    def __enter__(self) -> _Profiled:
        runtime = import_onnxruntime()
        options = session_options(self._threads, exact_int8=self._exact_int8)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "profile")
        try:
            self._session = runtime.InferenceSession(
                str(self._path), options, providers=[CPU_PROVIDER], enable_fallback=0
            )
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._session.end_profiling()
            self._session = None
        self._folder.cleanup()

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
        return read_passes(Path(file))


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
