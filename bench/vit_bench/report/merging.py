"""Any number of results, merged by device and by what can be compared."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from vit_bench.results import Absent, Accuracy, Footprints, Latency, Limit, Limits, Results
from vit_bench.sections import Entry, Measured, Section, entries, sections
from vit_runtime.artifact import codec

_COMPARABLE: Final[dict[type[Section], tuple[str, ...]]] = {
    Latency: ("model", "batch", "threads", "reference", "photo"),
    Accuracy: ("model", "reference", "pictures", "labels"),
    Footprints: ("model", "threads", "reference"),
    Limits: ("model",),
}
"""What sections of a kind have to agree in to come into one table; in the order of a report."""


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
        found = [(run, section) for run in runs for section in sections(run)]
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
    kinds = list(_COMPARABLE)
    return (kinds.index(type(section)), *(getattr(section, name) or "" for name in _COMPARABLE[type(section)]))


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
    whole = replace(
        used[0][1],
        absent=_absent([section for _, section in found], {entry.contender.name for entry in every}),
        warnings=tuple(dict.fromkeys(text for _, section in used for text in section.warnings)),
        interrupted=any(section.interrupted for _, section in used),
    )
    return Measured(section=_filled(whole, every), runs=runs, notes=tuple(notes))


def _filled(section: Section, every: tuple[Any, ...]) -> Section:
    """A section with these entries, which are of its kind."""
    if isinstance(section, Accuracy):
        return replace(section, scores=every)
    if isinstance(section, Limits):
        return replace(section, artifacts=every)
    if isinstance(section, Latency):
        return replace(section, contenders=every)
    return replace(section, contenders=every)


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
