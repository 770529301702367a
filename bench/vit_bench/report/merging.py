"""Any number of results, merged by device and by what can be compared."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, TypeVar, get_args

from vit_bench.contenders.names import Tool
from vit_bench.report.pooling import differ, pool
from vit_bench.results import (
    Absent,
    Accuracy,
    ContenderLatency,
    ContenderThroughput,
    Entry,
    Footprint,
    Footprints,
    Latency,
    Limit,
    Limits,
    Results,
    Section,
    Throughput,
)
from vit_runtime.artifact import codec

_T = TypeVar("_T", Latency, Accuracy, Footprints)
_PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
_ENTRIES: Final[dict[type[Section], str]] = {
    Latency: "contenders",
    Throughput: "contenders",
    Accuracy: "scores",
    Footprints: "contenders",
    Limits: "artifacts",
}
"""Where a section has one of each contender; in the order of a report."""
_COMPARABLE: Final[dict[type[Section], tuple[str, ...]]] = {
    Latency: ("model", "batch", "threads", "reference", "photo"),
    Throughput: ("model", "threads", "reference", "pictures", "photos"),
    Accuracy: ("model", "reference", "pictures", "labels"),
    Footprints: ("model", "threads", "reference"),
    Limits: ("model",),
}
"""What sections of a kind have to agree in to come into one table."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A section of the results, of one run or merged from several, and where it comes from."""

    section: Section
    runs: tuple[Results, ...]
    """Runs that something in the section was measured in, the newest first; at least one."""
    notes: tuple[str, ...] = ()
    """What to know about the merging."""
    sessions: tuple[tuple[str, Section], ...] = ()
    """What the section was pooled from, with the start of each, the newest first; empty where it is of one run."""

    @property
    def entries(self) -> list[Entry]:
        """Entries in the order of the table."""
        return sorted(entries(self.section), key=order)


@dataclass(frozen=True, kw_only=True)
class DeviceResults:
    """Everything that was measured on one device, merged."""

    device: str
    measured: tuple[Measured, ...]
    """Sections in the order of a report."""
    warnings: tuple[str, ...]
    """About whole runs, each with its date."""

    @property
    def models(self) -> list[str]:
        """Names of the models, sorted."""
        return sorted({measured.section.model for measured in self.measured})

    def fullest(self, kind: type[_T], model: str) -> _T | None:
        """The section of a kind, batch 1, with the most contenders, of those the newest; None without any."""
        own = [
            (len(entries(section)), measured.runs[0].card.date, section)
            for measured in self.measured
            if isinstance(section := measured.section, kind)
            if section.model == model and getattr(section, "batch", 1) == 1
        ]
        return max(own, key=lambda found: found[:2])[-1] if own else None


def merge(results: Sequence[Results]) -> list[DeviceResults]:
    """Puts runs of the same device together, a table for each model, batch, number of threads, photo and reference.

    A contender that was timed in several sessions, with the same versions and settings, is pooled (see `pooling`). Of
    any other that was measured more than once the newest is taken, and a note says so.
    """
    # By date, and where that is the same by content: the order of the files has no say.
    newest_first = sorted(dict.fromkeys(results), key=lambda run: (run.card.date, _canonical(run)), reverse=True)
    devices = []
    for name in sorted({run.card.device for run in newest_first}):
        runs = [run for run in newest_first if run.card.device == name]
        found = [(run, section) for run in runs for section in run.sections]
        found.sort(key=lambda pair: _comparable(pair[1]))  # stable: the newest stays first
        merged = DeviceResults(
            device=name,
            measured=tuple(_merge(list(group)) for _, group in groupby(found, lambda pair: _comparable(pair[1]))),
            warnings=tuple(
                dict.fromkeys(f"{run.card.date[:10]}: {warning}" for run in runs for warning in run.warnings)
            ),
        )
        if merged.measured:
            devices.append(merged)
    return devices


def _comparable(section: Section) -> tuple[Any, ...]:
    """The kind of a section and what it has to agree in with others."""
    return ([*_ENTRIES].index(type(section)), *(getattr(section, name) or "" for name in _COMPARABLE[type(section)]))


def _merge(found: Sequence[tuple[Results, Section]]) -> Measured:
    """Merges sections that can be compared, given the newest first."""
    sessions: dict[Hashable, list[Entry]] = {}
    newest: dict[Hashable, Results] = {}
    outdated: list[str] = []
    used: set[int] = set()
    for position, (run, section) in enumerate(found):
        for entry in entries(section):
            same = sessions.setdefault(_identity(entry), [])
            of_newest = newest.setdefault(_identity(entry), run)
            if not same or (run.vit_edge == of_newest.vit_edge and _can_be_pooled(same[0], entry)):
                same.append(entry)
                used.add(position)
            else:
                outdated.append(entry.contender.name)
    kept = [found[position] for position in sorted(used)] or list(found[:1])
    whole = replace(
        kept[0][1],
        **{_ENTRIES[type(kept[0][1])]: tuple(map(pool, sessions.values()))},  # type: ignore[arg-type]  # by its name
        absent=_absent([section for _, section in found], {same[0].contender.name for same in sessions.values()}),
        # Of all runs: a quiet hour does not take back what a noisy one has shown.
        warnings=tuple(dict.fromkeys(text for _, section in found for text in section.warnings)),
        interrupted=any(section.interrupted for _, section in kept),
    )
    pooled = tuple((_start(run), section) for run, section in kept) if len(kept) > 1 else ()
    return Measured(
        section=whole,
        runs=tuple(dict.fromkeys(run for run, _ in kept)),
        notes=tuple(_notes(outdated, pooled, sessions.values())),
        sessions=pooled,
    )


def _can_be_pooled(newest: Entry, entry: Entry) -> bool:
    return isinstance(entry, ContenderLatency | ContenderThroughput | Footprint) and entry.contender == newest.contender


def _notes(
    outdated: Sequence[str], pooled: Sequence[tuple[str, Section]], sessions: Iterable[Sequence[Entry]]
) -> Iterator[str]:
    if outdated:
        yield f"Measured more than once, the newest is shown: {', '.join(dict.fromkeys(outdated))}."
    if pooled:
        yield (
            f"From {len(pooled)} sessions ({', '.join(start for start, _ in pooled)}, UTC). Each ratio is the mean of "
            "the sessions' own, and its interval holds all of theirs."
        )
    if names := [same[0].contender.name for same in sessions if differ(same)]:
        yield f"Sessions differ by more than their own intervals: {', '.join(names)}."


def _start(run: Results) -> str:
    return run.card.date[:16].replace("T", " ")


def _identity(entry: Entry) -> Hashable:
    return (entry.contender.name, entry.batch, entry.threads) if isinstance(entry, Limit) else entry.contender.name


def _absent(found: Sequence[Section], present: Iterable[str]) -> tuple[Absent, ...]:
    """Who is in none of the sections, with the newest reason."""
    absent: dict[str, Absent] = {}
    for section in found:
        for each in section.absent:
            absent.setdefault(each.name, each)
    return tuple(each for name, each in absent.items() if name not in present)


def _canonical(run: Results) -> str:
    return json.dumps(codec.encode(run), sort_keys=True)


def entries(section: Section) -> tuple[Entry, ...]:
    """Whatever a section has one of for each contender."""
    found: tuple[Entry, ...] = getattr(section, _ENTRIES[type(section)])
    return found


def order(entry: Entry) -> tuple[int, bool, int, bool, str]:
    """Sorts vit-edge first, from fp32 to int8, portable last, then the other tools in the order of their list."""
    who, tools = entry.contender, get_args(Tool)
    return (
        tools.index(who.tool) if who.tool in tools else len(tools),
        "portable" in who.name,
        _PRECISIONS.index(who.precision) if who.precision in _PRECISIONS else len(_PRECISIONS),
        "static" in who.name,
        who.name,
    )
