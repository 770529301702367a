"""Any number of results, merged by device and by what can be compared."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, get_args

from vit_bench.results import Absent, Accuracy, Entry, Footprints, Latency, Limit, Limits, Results, Section, Tool
from vit_runtime.artifact import codec

_PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
_ENTRIES: Final[dict[type[Section], str]] = {
    Latency: "contenders",
    Accuracy: "scores",
    Footprints: "contenders",
    Limits: "artifacts",
}
"""Where a section has one of each contender; in the order of a report."""
_COMPARABLE: Final[dict[type[Section], tuple[str, ...]]] = {
    Latency: ("model", "batch", "threads", "reference", "photo"),
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
    """Those that something in it was measured in, the newest first; at least one."""
    notes: tuple[str, ...] = ()
    """What to know about the merging."""

    @property
    def entries(self) -> list[Entry]:
        """In the order of its table."""
        return sorted(entries(self.section), key=order)


@dataclass(frozen=True, kw_only=True)
class DeviceResults:
    """Everything that was measured on one device, merged."""

    device: str
    measured: tuple[Measured, ...]
    """In the order of a report."""
    warnings: tuple[str, ...]
    """About whole runs, each with its date."""

    @property
    def models(self) -> list[str]:
        """By name."""
        return sorted({measured.section.model for measured in self.measured})


def merge(results: Sequence[Results]) -> list[DeviceResults]:
    """Puts runs of the same device together: what was measured twice is the newest's, and a note says so.

    Only what can be compared comes into one table: of one model, batch, number of threads, photo and reference.
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
    """Sections that can be compared, the newest first."""
    kept: dict[Hashable, tuple[int, Entry]] = {}
    repeated: list[str] = []
    for position, (_, section) in enumerate(found):
        repeated += [
            entry.contender.name
            for entry in entries(section)
            if kept.setdefault(_identity(entry), (position, entry))[0] != position
        ]
    used = [found[position] for position in sorted({position for position, _ in kept.values()})] or list(found[:1])
    runs = tuple(dict.fromkeys(run for run, _ in used))
    notes = []
    if names := list(dict.fromkeys(repeated)):
        whose = "" if len(names) == len(kept) else f": {', '.join(names)}"
        notes.append(f"Measured more than once, the newest is shown{whose}.")
    if len(runs) > 1:
        dates = ", ".join(dict.fromkeys(run.card.date[:10] for run in runs))
        notes.append(f"From {len(runs)} runs ({dates}); each ratio is of one run.")
    every = tuple(entry for _, entry in kept.values())
    own: dict[str, Any] = {_ENTRIES[type(used[0][1])]: every}
    whole = replace(
        used[0][1],
        **own,
        absent=_absent([section for _, section in found], {entry.contender.name for entry in every}),
        warnings=tuple(dict.fromkeys(text for _, section in used for text in section.warnings)),
        interrupted=any(section.interrupted for _, section in used),
    )
    return Measured(section=whole, runs=runs, notes=tuple(notes))


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
