"""`vit-bench limit`: how near artifacts come to what their engine can do, on the CPU, and where the rest goes.

Run as `python -m vit_bench.measure.limit`, with a `LimitTask` as JSON on its standard input, it prints one `Limit`.

A multiplication and the addition behind it are two operations. Only matrix products count: LayerNorm, softmax, GELU and
residual additions are under one percent of what a model computes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

import vit_runtime
from vit_bench.contenders.entrants import Entrant, model_names
from vit_bench.contenders.process import PATIENCE_SECONDS, run_module
from vit_bench.contenders.task import tell_document, work_as_told
from vit_bench.errors import ContenderError
from vit_bench.measure.kernels import Pass, Shape, group_seconds, linear_products, read_passes
from vit_bench.measure.peak import Peaks, require_onnx
from vit_bench.measure.rounds import Settings, run_rounds
from vit_bench.results import Contender, Kernel, Limit, Limits, Product
from vit_export.progress import Progress
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Architecture, codec
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.providers import CPU_PROVIDER
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.settings import session_options

if TYPE_CHECKING:
    import onnxruntime as ort

Part = Literal["patches", "qkv", "scores", "mix", "output", "mlp/hidden", "mlp/output", "head"]

_COLOURS: Final = 3
BETWEEN: Final = "between kernels"
_PASSES: Final = 3
"""Passes in a round, for each of the two sessions; the first finds the other's weights in the caches, and does not
count."""
_FEWEST_ROUNDS: Final = 2
_MOST_KERNELS: Final = 60_000
"""Limit for the kernels in one profile: a file of some 30 MB."""


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
    """Folder for the profiler's files; whoever made it deletes it, also where this process is killed."""
    seconds: float
    """How long to measure, loading not counted; four passes of each kind and two bursts of each product are measured
    whatever it is."""


def run_limit(name: str, task: LimitTask) -> Limit:
    """Measures one artifact once, in a process of its own.

    Raises:
        ContenderError: the process failed, or was killed.
    """
    told: list[str] = []
    patience = PATIENCE_SECONDS + 2 * task.seconds
    run_module(name, "vit_bench.measure.limit", json.dumps(codec.encode(task)), told.append, patience=patience)
    if not told:
        raise ContenderError(name, "ended without a result")
    return codec.decode(Limit, json.loads(told[-1]))


def measure_limits(
    entrants: Sequence[Entrant],
    settings: Settings,
    progress: Progress,
    *,
    run_once: Callable[[str, LimitTask], Limit] = run_limit,
) -> Limits:
    """Measures artifacts in rounds, each in a process of its own; the process whose pass was the median one is told.

    Its kernels and products belong together, and a process may be lucky or not for as long as it lives. Loading takes
    no part in the seconds of the settings.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
        VitEdgeError: nothing could be measured.
    """
    require_onnx()
    version = f"onnxruntime {import_onnxruntime().__version__}"

    def run(entrant: Entrant) -> Limit:
        task = LimitTask(
            file=entrant.task.file,
            contender=entrant.facts(version),
            threads=settings.threads,
            batch=settings.batch,
            folder=folder,
            seconds=settings.seconds / settings.rounds,
        )
        return run_once(entrant.name, task)

    with tempfile.TemporaryDirectory(prefix="vit-bench.") as folder:
        done = run_rounds(entrants, settings.rounds, run, progress)
    return Limits(
        model=model_names(entrants),
        # The one whose pass took the median time; of two in the middle the quicker.
        artifacts=tuple(
            sorted(found.values(), key=lambda limit: limit.pass_seconds)[(len(found) - 1) // 2]
            for found in done.finished.values()
        ),
        absent=tuple(done.absent),
        warnings=(),
        interrupted=done.interrupted,
    )


def measure_limit(task: LimitTask) -> Limit:
    """Measures an artifact: the pass, its kernels, and its linear layers' products alone, in turn.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
        ArtifactError: the file is missing, damaged, or no artifact that runs here.
        UsageError: the number of threads is below 1.
        ProviderError: onnxruntime failed, most often for want of memory.
    """
    require_onnx()
    threads = task.threads
    model = vit_runtime.load(task.file, provider="cpu", threads=threads)
    exact_int8 = model.artifact.precision == "int8" and int8_products_saturate()
    shape = (task.batch, *model.artifact.preprocessing.crop_hw, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    model.run(pixels)
    graph = _first_pass(_profiled(task, exact_int8=exact_int8), {"pixels": pixels})
    counts = Counter(linear_products(graph))
    peaks = Peaks(list(dict.fromkeys(product for _, product in counts)), threads=threads, exact_int8=exact_int8)

    plain: list[float] = []
    profiled = _profiled(task, exact_int8=exact_int8)
    most = max(_FEWEST_ROUNDS, _MOST_KERNELS // (_PASSES * len(graph)))
    start = time.perf_counter()
    for done in range(1, most + 1):
        began = time.perf_counter()
        plain += _time_passes(model, pixels)
        for _ in range(_PASSES):
            profiled.run(None, {"pixels": pixels})
        peaks.measure((time.perf_counter() - began) / 2)
        spent = time.perf_counter() - start
        if done >= _FEWEST_ROUNDS and spent + spent / done > task.seconds:
            break
    passes = [each for number, each in enumerate(_passes(profiled)) if number % _PASSES]

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
        products=tuple(
            Product(layer=layer, **vars(shape), times=times, peak=speeds[shape])
            for (layer, shape), times in counts.items()
        ),
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


def _profiled(task: LimitTask, *, exact_int8: bool) -> ort.InferenceSession:
    """The artifact in a session of its own under onnxruntime's profiler."""
    options = session_options(task.threads, exact_int8=exact_int8)
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(task.folder) / "profile")
    return import_onnxruntime().InferenceSession(task.file, options, providers=[CPU_PROVIDER], enable_fallback=0)


def _first_pass(profiled: ort.InferenceSession, inputs: dict[str, UInt8Array]) -> Pass:
    profiled.run(None, inputs)
    (graph,) = _passes(profiled)
    return graph


def _passes(profiled: ort.InferenceSession) -> list[Pass]:
    """Ends the profile and gives its passes."""
    file = Path(profiled.end_profiling())
    passes = read_passes(file)
    file.unlink()
    return passes


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


def operations_by_part(arch: Architecture) -> dict[Part, int]:
    """Operations of one picture, in all layers, as Dosovitskiy et al. (2021, section 3.1) define the model.

    Every token passes through every block, also where no answer depends on it; the exported graph leaves that out.
    """
    tokens, width, layers = arch.tokens, arch.width, arch.layers
    patches, values = arch.grid**2, arch.patch_size**2 * _COLOURS
    return {
        "patches": _product(patches, values, width),
        "qkv": layers * _product(tokens, width, 3 * width),
        # For each head (S, K) times (K, S) and (S, S) times (S, K); K adds up to the width over all heads.
        "scores": layers * _product(tokens, width, tokens),
        "mix": layers * _product(tokens, tokens, width),
        "output": layers * _product(tokens, width, width),
        "mlp/hidden": layers * _product(tokens, width, arch.mlp_width),
        "mlp/output": layers * _product(tokens, arch.mlp_width, width),
        "head": _product(1, arch.head_width, arch.classes),
    }


def architecture_operations(arch: Architecture) -> int:
    """All of `operations_by_part`: what one picture takes."""
    return sum(operations_by_part(arch).values())


def _product(rows: int, inner: int, columns: int) -> int:
    return 2 * rows * inner * columns


if __name__ == "__main__":
    work_as_told(LimitTask, lambda task: tell_document(measure_limit(task)))
