"""`vit-bench limit`: how near artifacts come to what their engine can do, on the CPU."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence

from vit_bench.contenders import Entrant, model_names
from vit_bench.errors import ContenderError
from vit_bench.limit_worker import LimitTask
from vit_bench.peak import require_onnx
from vit_bench.process import run_module
from vit_bench.results import Limit, Limits
from vit_bench.rounds import require_results, run_rounds
from vit_export.progress import Progress
from vit_runtime.artifact import codec
from vit_runtime.devices.session import import_onnxruntime


def measure_limits(
    entrants: Sequence[Entrant], *, threads: int, batch: int, seconds: float, rounds: int, progress: Progress
) -> Limits:
    """Measures artifacts in rounds, each in a process of its own; the process whose pass was the median one is told.

    Its kernels and products belong together, and a process may be lucky or not for as long as it lives.

    Args:
        entrants: artifacts.
        threads: processor cores, at least 1.
        batch: pictures in one pass, at least 1.
        seconds: how long to measure each artifact, over all rounds, loading not counted.
        rounds: at least 1.
        progress: is told of the rounds.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
        VitEdgeError: nothing could be measured.
    """
    require_onnx()
    version = f"onnxruntime {import_onnxruntime().__version__}"

    def run(entrant: Entrant) -> Limit:
        task = LimitTask(
            file=str(entrant.file),
            contender=entrant.facts(version),
            threads=threads,
            batch=batch,
            folder=folder,
            seconds=seconds / rounds,
        )
        told = run_module(entrant.name, "vit_bench.limit_worker", json.dumps(codec.encode(task)))
        if not told:
            raise ContenderError(entrant.name, "ended without a result")
        return codec.decode(Limit, json.loads(told[-1]))

    with tempfile.TemporaryDirectory(prefix="vit-bench.") as folder:
        done = run_rounds(entrants, rounds, run, progress)
    require_results([*done.finished], done.crashed, done.interrupted)
    return Limits(
        model=model_names(entrants),
        artifacts=tuple(_median([*found.values()]) for found in done.finished.values()),
        absent=tuple(done.crashed),
        warnings=(),
        interrupted=done.interrupted,
    )


def _median(found: Sequence[Limit]) -> Limit:
    """The one whose pass took the median time; of two in the middle the quicker."""
    return sorted(found, key=lambda limit: limit.pass_seconds)[(len(found) - 1) // 2]
