"""A small table for a README: our files, PyTorch, and the best that others reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from vit_bench.contenders.names import OWN
from vit_bench.report.merging import DeviceResults, order
from vit_bench.report.tables import Table, escape, ratio, rounded
from vit_bench.results import Accuracy, ContenderLatency, Footprints, Latency

_HEADER: Final = (
    "",
    "model alone, ms",
    "times as fast as {}",
    "photo to answer, ms",
    "same answer as {}, %",
    "first answer, s",
    "memory, MB",
)
_FLOAT: Final = ("fp32", "fp16", "bf16")


def summarize(device: DeviceResults) -> str:
    """Markdown for a device: a table for each of its models; empty where no latency was measured."""
    parts = [
        f"**{escape(latency.model)}** on {escape(device.device)}, {latency.threads} threads, batch 1:\n\n"
        + _table(latency, device.fullest(Accuracy, model), device.fullest(Footprints, model)).markdown()
        for model in device.models
        if (latency := device.fullest(Latency, model)) is not None
    ]
    return "\n\n".join(parts)


def _table(latency: Latency, accuracy: Accuracy | None, footprints: Footprints | None) -> Table:
    """A row for each of our files, for the reference, and for the fastest other in floats and the fastest in int8."""
    agreement = {score.contender.name: score.agreement for score in accuracy.scores} if accuracy else {}
    costs = {entry.contender.name: entry for entry in footprints.contenders} if footprints else {}

    def cells(entry: ContenderLatency) -> Iterator[str]:
        name = entry.contender.name
        alone, photo = entry.timing("model"), entry.timing("photo")
        same, cost = agreement.get(name), costs.get(name)
        yield name
        yield rounded(1e3 * alone.all_rounds.median) if alone else ""
        yield "1" if name == latency.reference else ratio(alone.speedup if alone else None)
        yield rounded(1e3 * photo.all_rounds.median) if photo else ""
        yield f"{100 * same.count / same.of:.1f}" if same else ""
        yield rounded(cost.first_answer.median) if cost else ""
        yield rounded(cost.peak_bytes.median / 1e6) if cost else ""

    rows = [tuple(cells(entry)) for entry in sorted(_chosen(latency), key=order)]
    kept = [column for column in range(len(_HEADER)) if column == 0 or any(row[column] for row in rows)]
    return Table(
        header=tuple(_HEADER[column].format(latency.reference) for column in kept),
        rows=tuple(tuple(row[column] for column in kept) for row in rows),
    )


def _chosen(latency: Latency) -> Iterator[ContenderLatency]:
    others = [entry for entry in latency.contenders if entry.contender.tool != OWN]
    reference = [entry for entry in others if entry.contender.name == latency.reference]
    rivals = [entry for entry in others if entry not in reference]
    yield from (entry for entry in latency.contenders if entry.contender.tool == OWN)
    yield from reference
    yield from _fastest(entry for entry in rivals if entry.contender.precision in _FLOAT)
    yield from _fastest(entry for entry in rivals if entry.contender.precision not in _FLOAT)


def _fastest(entries: Iterable[ContenderLatency]) -> list[ContenderLatency]:
    timed = [(timing.all_rounds.median, entry) for entry in entries if (timing := entry.timing("model"))]
    return [min(timed, key=lambda found: found[0])[1]] if timed else []
