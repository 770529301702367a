"""Any number of results, merged by device and by what can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

from vit_bench.results import Absent, Accuracy, Footprints, Latency, Limit, Limits, Results
from vit_bench.sections import Entry, Measured, Section, entries
from vit_runtime.artifact import codec

_T = TypeVar("_T", Latency, Accuracy, Footprints, Limits)


@dataclass(frozen=True, kw_only=True)
class DeviceResults:
    """Everything that was measured on one device, merged, by model."""

    device: str
    latency: tuple[Measured[Latency], ...]
    accuracy: tuple[Measured[Accuracy], ...]
    footprint: tuple[Measured[Footprints], ...]
    limit: tuple[Measured[Limits], ...]
    warnings: tuple[str, ...]
    """About whole runs, each with its date."""

    @property
    def sections(self) -> tuple[Measured[Section], ...]:
        """All of them, in the order of a report."""
        return (*self.latency, *self.accuracy, *self.footprint, *self.limit)

    @property
    def models(self) -> list[str]:
        """By name."""
        return sorted({measured.section.model for measured in self.sections})


def merge(results: Sequence[Results]) -> list[DeviceResults]:
    """Puts runs of the same device together: what was measured twice is the newest's, and a note says so.

    Only what can be compared comes into one table: of one model, batch, number of threads, photo and reference.
    """
    # By date, and where that is the same by content: the order of the files has no say.
    newest_first = sorted(dict.fromkeys(results), key=lambda run: (run.card.date, _canonical(run)), reverse=True)
    devices = []
    for name in sorted({run.card.device for run in newest_first}):
        runs = [run for run in newest_first if run.card.device == name]
        merged = DeviceResults(
            device=name,
            latency=_merge(
                ((run, each) for run in runs for each in run.latency),
                lambda each: (each.model, each.batch, each.threads, each.reference or "", each.photo),
                lambda each, kept, absent: replace(each, contenders=kept, absent=absent),
            ),
            accuracy=_merge(
                ((run, each) for run in runs for each in run.accuracy),
                lambda each: (each.model, each.reference or "", each.pictures, each.labels),
                lambda each, kept, absent: replace(each, scores=kept, absent=absent),
            ),
            footprint=_merge(
                ((run, each) for run in runs for each in run.footprint),
                lambda each: (each.model, each.threads, each.reference or ""),
                lambda each, kept, absent: replace(each, contenders=kept, absent=absent),
            ),
            limit=_merge(
                ((run, each) for run in runs for each in run.limit),
                lambda each: (each.model,),
                lambda each, kept, absent: replace(each, artifacts=kept, absent=absent),
            ),
            warnings=tuple(
                dict.fromkeys(f"{run.card.date[:10]}: {warning}" for run in runs for warning in run.warnings)
            ),
        )
        if merged.sections:
            devices.append(merged)
    return devices


def _merge(
    found: Iterable[tuple[Results, _T]],
    key: Callable[[_T], tuple[str | int, ...]],
    fill: Callable[[_T, tuple[Any, ...], tuple[Absent, ...]], _T],
) -> tuple[Measured[_T], ...]:
    """Tables of what can be compared, in order of `key`; `fill` puts contenders and absent ones into a section."""
    ordered = sorted(found, key=lambda pair: key(pair[1]))  # stable: the newest stays first
    return tuple(_merge_group(list(group), fill) for _, group in groupby(ordered, key=lambda pair: key(pair[1])))


def _merge_group(
    found: Sequence[tuple[Results, _T]], fill: Callable[[_T, tuple[Any, ...], tuple[Absent, ...]], _T]
) -> Measured[_T]:
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
    sections = [section for _, section in used]
    notes = []
    if names := list(dict.fromkeys(repeated)):
        whose = "" if len(names) == len(kept) else f": {', '.join(names)}"
        notes.append(f"Measured more than once, the newest is shown{whose}.")
    if len(runs) > 1:
        dates = ", ".join(dict.fromkeys(run.card.date[:10] for run in runs))
        notes.append(f"From {len(runs)} runs ({dates}); each ratio is of one run.")
    every = tuple(entry for _, entry in kept.values())
    whole = replace(
        sections[0],
        warnings=tuple(dict.fromkeys(text for section in sections for text in section.warnings)),
        interrupted=any(section.interrupted for section in sections),
    )
    absent = _absent([section for _, section in found], {entry.contender.name for entry in every})
    return Measured(section=fill(whole, every, absent), runs=runs, notes=tuple(notes))


def _identity(entry: Entry) -> Hashable:
    return (entry.contender.name, entry.batch, entry.threads) if isinstance(entry, Limit) else entry.contender.name


def _absent(sections: Sequence[Section], present: Iterable[str]) -> tuple[Absent, ...]:
    """Who is in none of the sections, with the newest reason."""
    found: dict[str, Absent] = {}
    for section in sections:
        for absent in section.absent:
            found.setdefault(absent.name, absent)
    return tuple(absent for name, absent in found.items() if name not in present)


def _canonical(run: Results) -> str:
    return json.dumps(codec.encode(run), sort_keys=True)
