"""What the kinds of measurement have in common: a section of the results, its entries, and their order in a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, get_args

from vit_bench.contenders import Tool
from vit_bench.results import (
    Accuracy,
    ContenderLatency,
    Footprint,
    Footprints,
    Kind,
    Latency,
    Limit,
    Limits,
    Results,
    Score,
    Timing,
)

Section: TypeAlias = "Latency | Accuracy | Footprints | Limits"
Entry: TypeAlias = "ContenderLatency | Score | Footprint | Limit"

_TOOLS: Final = get_args(Tool)
_PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A section of the results, of one run or merged from several, and where it comes from."""

    section: Section
    runs: tuple[Results, ...]
    """Those that something in it was measured in, the newest first; at least one."""
    notes: tuple[str, ...] = ()
    """What to know about the merging."""


def sections(results: Results) -> tuple[Section, ...]:
    """All of a document, in the order of a report."""
    return (*results.latency, *results.accuracy, *results.footprint, *results.limit)


def entries(section: Section) -> tuple[Entry, ...]:
    """Whatever a section has one of for each contender."""
    if isinstance(section, Accuracy):
        return section.scores
    return section.artifacts if isinstance(section, Limits) else section.contenders


def limits(section: Section) -> list[Limit]:
    """The artifacts whose kernels are known, in the order of the table."""
    return sorted(section.artifacts, key=order) if isinstance(section, Limits) else []


def timing_of(entry: ContenderLatency, kind: Kind) -> Timing | None:
    """A contender's latency of one kind; None where it was not measured."""
    return next((timing for timing in entry.timings if timing.kind == kind), None)


def order(entry: Entry) -> tuple[int, bool, int, bool, str]:
    """Sorts vit-edge first, from fp32 to int8, portable last, then the other tools in the order of their list."""
    who = entry.contender
    return (
        _TOOLS.index(who.tool) if who.tool in _TOOLS else len(_TOOLS),
        "portable" in who.name,
        _PRECISIONS.index(who.precision) if who.precision in _PRECISIONS else len(_PRECISIONS),
        "static" in who.name,
        who.name,
    )
