"""Results as tables: Markdown for the README, aligned text for the terminal. Both have the same rows.

Units: ms, s, MB (10^6 bytes), GOP (10^9 operations); three significant digits, ratios and their intervals two decimals.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, get_args

from vit_bench.report.captions import UNCLEAR, card_line, joined, machine_parts, notes, settings_parts, title
from vit_bench.report.merging import Measured, order
from vit_bench.results import (
    Accuracy,
    ContenderLatency,
    ContenderThroughput,
    Difference,
    Entry,
    Footprint,
    Footprints,
    Kind,
    Latency,
    Limit,
    Limits,
    Quantiles,
    Ratio,
    Results,
    Score,
    Section,
    Share,
    Throughput,
)

_REFERENCE: Final = "1 (reference)"
_E = TypeVar("_E", bound=Entry)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Plain text cells; the first column says whose row it is, the others are numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown, with everything escaped that Markdown would take for its own."""
        rule = ("---", *["---:"] * (len(self.header) - 1))
        lines = [map(escape, self.header), rule, *(map(escape, row) for row in self.rows)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def text(self) -> str:
        """The table in aligned columns."""
        lines = (self.header, *self.rows)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                f"{cell:>{width}}" if position else f"{cell:<{width}}"
                for position, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def terminal_table(results: Results) -> str:
    """What a run has measured, in aligned plain text, with the card, what is absent, and the warnings."""
    parts: list[str] = []
    for section in results.sections:
        measured = Measured(section=section, runs=(results,))
        parts.append(f"{section.model}: {title(section)}\n{card_line(measured)}\n{main_table(section).text()}")
        parts += [f"{limit.contender.name}\n{kernel_table(limit).text()}" for limit in _limits(measured)]
        if said := notes(measured):
            parts.append("\n".join(said))
    parts.extend(f"Warning: {warning}" for warning in results.warnings)
    return "\n\n".join(parts)


def markdown_table(measured: Measured, *, machine: bool = True) -> str:
    """A section: a line on the run, the table, what to know about it; kernels folded away.

    Args:
        measured: the section.
        machine: whether to name the machine; else whoever asks has done so.
    """
    section = measured.section
    line = joined([*(machine_parts(measured) if machine else []), *settings_parts(measured)])
    parts = [f"**{escape(title(section))}.** {escape(line)}", main_table(section).markdown()]
    folded = [(f"Where the time goes: {limit.contender.name}", kernel_table(limit)) for limit in _limits(measured)]
    if len(measured.sessions) > 1 and isinstance(section, Latency):
        folded.append(("Each session by itself", session_table(section, measured.sessions)))
    parts += [
        f"<details><summary>{html.escape(summary)}</summary>\n\n{table.markdown()}\n\n</details>"
        for summary, table in folded
    ]
    if said := notes(measured):
        parts.append("\n".join(f"- {escape(line)}" for line in said))
    return "\n\n".join(parts)


def _limits(measured: Measured) -> list[Limit]:
    """The artifacts whose kernels are known."""
    return [entry for entry in measured.entries if isinstance(entry, Limit)]


def main_table(section: Section) -> Table:
    """The table of a section, a row for each contender; columns without anything in them are left out."""
    if isinstance(section, Latency):
        return _latency_table(section)
    if isinstance(section, Throughput):
        return _throughput_table(section)
    if isinstance(section, Accuracy):
        return _accuracy_table(section)
    return _footprint_table(section) if isinstance(section, Footprints) else _limit_table(section)


def _latency_table(latency: Latency) -> Table:
    batch = "" if latency.batch == 1 else f" for {latency.batch} pictures"
    faster = f"times as fast as {latency.reference}"

    def cells(entry: ContenderLatency) -> Iterator[str]:
        for kind in get_args(Kind):
            timing = entry.timing(kind)
            is_reference = entry.contender.name == latency.reference and timing is not None
            yield "" if timing is None else _milliseconds(timing.all_rounds)
            yield _REFERENCE if is_reference else ratio(timing.speedup if timing else None)

    header = (f"model alone{batch}, ms (p10 to p90)", faster, "photo to answer, ms (p10 to p90)", faster)
    return _table(header, latency.contenders, cells)


def _throughput_table(throughput: Throughput) -> Table:
    reference = throughput.reference

    def cells(entry: ContenderThroughput) -> Iterator[str]:
        is_reference = entry.contender.name == reference
        low, middle, high = (rounded(value) for value in (entry.rate.p10, entry.rate.median, entry.rate.p90))
        yield f"{middle} ({low} to {high})"
        yield _REFERENCE if is_reference else ratio(entry.rate_ratio)
        yield _milliseconds(entry.photo)
        yield _REFERENCE if is_reference else ratio(entry.photo_speedup)
        yield "(reference)" if is_reference else _share(entry.agreement)

    header = (
        *("pictures a second (p10 to p90)", f"times {reference}'s"),
        *("photo to answer, ms (p10 to p90)", f"times as fast as {reference}", f"same answer as {reference}, %"),
    )
    return _table(header, throughput.contenders, cells)


def _milliseconds(values: Quantiles) -> str:
    median, p10, p90 = (rounded(1e3 * seconds) for seconds in (values.median, values.p10, values.p90))
    return f"{median} ({p10} to {p90})"


def _accuracy_table(accuracy: Accuracy) -> Table:
    reference = accuracy.reference

    def cells(score: Score) -> Iterator[str]:
        yield _share(score.top1)
        yield _share(score.top5)
        yield "(reference)" if score.contender.name == reference else _share(score.agreement)
        yield _points(score.top1_difference)

    header = ("top-1, %", "top-5, %", f"same answer as {reference}, %", f"top-1 less {reference}'s, points")
    return _table(header, accuracy.scores, cells)


def _share(value: Share | None) -> str:
    """Per cent, of which one decimal is what a thousand pictures can tell."""
    if value is None:
        return ""
    return f"{100 * value.count / value.of:.1f} ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _points(value: Difference | None) -> str:
    if value is None:
        return ""
    return f"{100 * value.value:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def _footprint_table(footprints: Footprints) -> Table:
    reference = next((entry for entry in footprints.contenders if entry.contender.name == footprints.reference), None)

    def size_ratio(size: Callable[[Footprint], int], entry: Footprint) -> str:
        """A ratio of what was counted, not measured: it has no interval."""
        return f"{size(reference) / size(entry):.2f}" if reference and size(reference) and size(entry) else ""

    def cells(entry: Footprint) -> Iterator[str]:
        ratios = (
            ratio(entry.first_answer_speedup),
            ratio(entry.peak_ratio),
            size_ratio(lambda of: of.model_bytes, entry),
            size_ratio(lambda of: of.installed_bytes, entry),
        )
        values = (
            rounded(entry.first_answer.median),
            rounded(entry.peak_bytes.median / 1e6),
            rounded(entry.model_bytes / 1e6),
            f"{rounded(entry.installed_bytes / 1e6)} ({entry.installed_packages} packages)",
        )
        for value, against in zip(values, ratios, strict=True):
            yield value
            yield _REFERENCE if entry is reference else against

    values = ("start to first answer, s", "peak memory, MB", "model on disk, MB", "installed, MB")
    header = [text for value in values for text in (value, f"{footprints.reference} / it")]
    return _table(header, footprints.contenders, cells)


def _limit_table(limits: Limits) -> Table:
    same = len({(limit.batch, limit.threads) for limit in limits.artifacts}) == 1

    def cells(limit: Limit) -> Iterator[str]:
        linear = sum(2 * p.rows * p.inner * p.columns * p.times for p in limit.products)
        yield "" if same else str(limit.batch)
        yield "" if same else str(limit.threads)
        yield f"{rounded(limit.operations / 1e9)} ({rounded(limit.architecture_operations / 1e9)})"
        yield rounded(1e3 * limit.floor_seconds)
        yield rounded(linear / limit.floor_seconds / 1e9) if limit.floor_seconds else ""
        yield rounded(1e3 * limit.pass_seconds)
        yield f"{limit.linear_share:.0%}"

    header = (
        *("batch", "threads", "operations, GOP (by the paper)", "linear layers alone, ms", "at GOP/s"),
        *("whole pass, ms", "linear layers alone / whole pass"),
    )
    return _table(header, limits.artifacts, cells)


def kernel_table(limit: Limit) -> Table:
    """Where a pass's time goes, the longest first."""
    header = ("", "ms", "share", "GOP", "GOP/s", "of its peak")
    rows = [
        (
            kernel.name,
            rounded(1e3 * kernel.seconds),
            f"{kernel.share:.1%}",
            rounded(kernel.operations / 1e9) if kernel.operations else "",
            rounded(kernel.operations / kernel.seconds / 1e9) if kernel.operations and kernel.seconds else "",
            "" if kernel.peak_share is None else f"{kernel.peak_share:.0%}",
        )
        for kernel in limit.kernels
    ]
    return Table(header=header, rows=tuple(rows))


def session_table(pooled: Latency, sessions: Sequence[tuple[str, Section]]) -> Table:
    """The ratios of each session, with the interval in which a repetition within that session should find them."""
    measured = [(start, session) for start, session in sessions if isinstance(session, Latency)]

    def cells(entry: ContenderLatency) -> Iterator[str]:
        for kind in get_args(Kind):
            for _, session in measured:
                same = [own for own in session.contenders if own.contender == entry.contender]
                timing = same[0].timing(kind) if same else None
                yield ratio(timing.speedup if timing else None)

    header = [f"{kind}, {start}" for kind in ("model alone", "photo to answer") for start, _ in measured]
    compared = [entry for entry in pooled.contenders if entry.contender.name != pooled.reference]
    return _table(header, compared, cells)


def ratio(value: Ratio | None) -> str:
    """A ratio with its interval, in words where that holds 1; empty where there is none."""
    if value is None:
        return ""
    if value.pairs < 2:
        return f"{value.value:.2f} (one round: no interval)"
    unclear = "" if value.is_clear else f": {UNCLEAR}"
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f}){unclear}"


def rounded(value: float) -> str:
    """Three significant digits, never an exponent: 0.0123, 12.3, 1230."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(f'{mantissa}e{exponent}'):.{max(0, 2 - int(exponent))}f}"


def escape(text: str) -> str:
    """Text as Markdown shows it: nothing in it starts a tag, a column, a link or emphasis; one line."""
    line = html.escape(" ".join(text.split()), quote=False)
    # An underscore or star inside a word (vit_b_16) is an ordinary letter for GitHub, and reads better as it is.
    return re.sub(r"[\\`|\[\]~*]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def _table(header: Sequence[str], entries: Sequence[_E], cells: Callable[[_E], Iterator[str]]) -> Table:
    """A row for each entry, in order, with its name in front; columns without anything in them are left out."""
    ordered = sorted(entries, key=order)
    rows = [(entry.contender.name, *cells(entry)) for entry in ordered]
    kept = [0, *(column for column in range(1, len(header) + 1) if any(row[column] for row in rows))]
    return Table(
        header=tuple(("", *header)[column] for column in kept),
        rows=tuple(tuple(row[column] for column in kept) for row in rows),
    )
