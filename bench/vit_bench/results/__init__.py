"""What a run of `vit-bench` writes: one JSON document, written and read through these dataclasses.

Times are in seconds, sizes in bytes, shares between 0 and 1. A document holds one list for each kind of measurement;
most have one entry in one of them. `vit-bench report` puts any number of documents side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from vit_bench.results.common import (
    Absent,
    Card,
    Contender,
    Difference,
    Load,
    Package,
    Quantiles,
    Ratio,
    Share,
)
from vit_bench.results.folders import ContenderThroughput, Throughput
from vit_bench.results.kinds import (
    Accuracy,
    ContenderLatency,
    Footprint,
    Footprints,
    Kernel,
    Kind,
    Latency,
    Limit,
    Limits,
    Product,
    Score,
    Timing,
)

__all__ = [
    "RESULTS_VERSION",
    "Absent",
    "Accuracy",
    "Card",
    "Contender",
    "ContenderLatency",
    "ContenderThroughput",
    "Difference",
    "Entry",
    "Footprint",
    "Footprints",
    "Kernel",
    "Kind",
    "Latency",
    "Limit",
    "Limits",
    "Load",
    "Package",
    "Product",
    "Quantiles",
    "Ratio",
    "Results",
    "Score",
    "Section",
    "Share",
    "Throughput",
    "Timing",
]

RESULTS_VERSION: Final = 2

Section: TypeAlias = Latency | Throughput | Accuracy | Footprints | Limits
Entry: TypeAlias = ContenderLatency | ContenderThroughput | Score | Footprint | Limit


@dataclass(frozen=True, kw_only=True)
class Results:
    """The whole document."""

    format_version: int
    vit_edge: str
    card: Card
    latency: tuple[Latency, ...] = ()
    throughput: tuple[Throughput, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    footprint: tuple[Footprints, ...] = ()
    limit: tuple[Limits, ...] = ()
    warnings: tuple[str, ...] = ()
    """What speaks against all of these numbers."""

    @property
    def sections(self) -> tuple[Section, ...]:
        """All, in the order of a report."""
        return (*self.latency, *self.throughput, *self.accuracy, *self.footprint, *self.limit)
