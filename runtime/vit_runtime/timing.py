"""How long a graph takes for one picture on this machine, now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vit_runtime.graph import Graph
from vit_runtime.selftest import waves

_WARM_UP: Final = 2
"""Runs in front whose times are not kept."""
_LEAST: Final = 3


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of single runs, in milliseconds."""

    median_ms: float
    p10_ms: float
    """A tenth of the runs took no longer: what the machine can do while nothing disturbs it."""
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Summarises times in seconds; at least one."""
        tenth = sorted(seconds)[len(seconds) // 10]
        return cls(median_ms=1000 * statistics.median(seconds), p10_ms=1000 * tenth, runs=len(seconds))


def time_runs(graph: Graph, seconds: float) -> list[float]:
    """Runs a graph on one picture again and again; gives the time of each run in seconds, of at least three.

    Args:
        graph: what to run.
        seconds: for how long.

    Raises:
        ProviderError: the provider cannot compute the picture.
    """
    pixels = waves(graph.description.preprocessing.crop_hw)[None]
    outputs = graph.description.outputs[:1]
    for _ in range(_WARM_UP):
        graph.run(pixels, outputs)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST or time.perf_counter() < end:
        begin = time.perf_counter()
        graph.run(pixels, outputs)
        times.append(time.perf_counter() - begin)
    return times
