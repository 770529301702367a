"""`vit-bench limit`: how near artifacts come to what their engine can do, on the CPU."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence

from vit_bench.errors import ContenderError
from vit_bench.measure.entrants import Entrant, model_names
from vit_bench.measure.limit_worker import LimitTask
from vit_bench.measure.peak import require_onnx
from vit_bench.measure.process import run_module
from vit_bench.measure.rounds import Settings, run_rounds
from vit_bench.results import Limit, Limits
from vit_export.progress import Progress
from vit_runtime.artifact import codec
from vit_runtime.devices.session import import_onnxruntime


def run_limit(name: str, task: LimitTask) -> Limit:
    """Measures one artifact once, in a process of its own.

    Raises:
        ContenderError: the process failed, or was killed.
    """
    told = run_module(name, "vit_bench.measure.limit_worker", json.dumps(codec.encode(task)))
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
        artifacts=tuple(_median([*found.values()]) for found in done.finished.values()),
        absent=tuple(done.absent),
        warnings=(),
        interrupted=done.interrupted,
    )


def _median(found: Sequence[Limit]) -> Limit:
    """The one whose pass took the median time; of two in the middle the quicker."""
    return sorted(found, key=lambda limit: limit.pass_seconds)[(len(found) - 1) // 2]
