"""Results as tables: Markdown for the README, aligned text for the terminal. Both have the same rows.

Units: ms, s, MB (10^6 bytes), GOP (10^9 operations); three significant digits, ratios and their intervals two decimals.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from vit_bench.captions import UNCLEAR, card_line, machine_line, notes, settings_line, title
from vit_bench.results import (
    Accuracy,
    Difference,
    Footprints,
    Kind,
    Latency,
    Limit,
    Limits,
    Quantiles,
    Ratio,
    Results,
    Share,
    Timing,
)
from vit_bench.sections import Measured, Section, limits, order, timing_of

_REFERENCE: Final = "1 (reference)"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Plain text cells; the first column says whose row it is, the others are numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """With what Markdown would take for its own escaped."""
        rule = ("---", *["---:"] * (len(self.header) - 1))
        lines = [map(escape, self.header), rule, *(map(escape, row) for row in self.rows)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def text(self) -> str:
        """In aligned columns."""
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
    sections: list[Section] = [*results.latency, *results.accuracy, *results.footprint, *results.limit]
    for section in sections:
        measured = Measured(section=section, runs=(results,))
        parts.append(f"{section.model}: {title(section)}\n{card_line(measured)}\n{main_table(section).text()}")
        parts.extend(f"{entry.contender.name}\n{kernel_table(entry).text()}" for entry in limits(section))
        if said := notes(measured):
            parts.append("\n".join(said))
    parts.extend(f"Warning: {warning}" for warning in results.warnings)
    return "\n\n".join(parts)


def markdown_table(measured: Measured[Section], *, machine: bool = True) -> str:
    """A section: a line on the run, the table, what to know about it; kernels folded away.

    Args:
        measured: the section.
        machine: whether to name the machine; else whoever asks has done so.
    """
    section = measured.section
    line = "; ".join([*([machine_line(measured)] if machine else []), settings_line(measured)])
    parts = [f"**{escape(title(section))}.** {escape(line)}", main_table(section).markdown()]
    parts += [
        f"<details><summary>Where the time goes: {html.escape(limit.contender.name)}</summary>\n\n"
        f"{kernel_table(limit).markdown()}\n\n</details>"
        for limit in limits(section)
    ]
    if said := notes(measured):
        parts.append("\n".join(f"- {escape(line)}" for line in said))
    return "\n\n".join(parts)


def main_table(section: Section) -> Table:
    """The table of a section, a row for each contender; columns without anything in them are left out."""
    if isinstance(section, Latency):
        return _latency_table(section)
    if isinstance(section, Accuracy):
        return _accuracy_table(section)
    return _footprint_table(section) if isinstance(section, Footprints) else _limit_table(section)


def _latency_table(latency: Latency) -> Table:
    batch = "" if latency.batch == 1 else f" for {latency.batch} pictures"
    faster = f"times as fast as {latency.reference}"
    header = ("", f"model alone{batch}, ms (p10 to p90)", faster, "photo to answer, ms (p10 to p90)", faster)
    rows = []
    for entry in sorted(latency.contenders, key=order):
        cells = [entry.contender.name]
        for kind in get_args(Kind):
            timing = timing_of(entry, kind)
            is_reference = entry.contender.name == latency.reference and timing is not None
            cells += [_milliseconds(timing), _REFERENCE if is_reference else ratio(timing.speedup if timing else None)]
        rows.append(cells)
    return _without_empty_columns(header, rows)


def _milliseconds(timing: Timing | None) -> str:
    return "" if timing is None else _spread(timing.all_rounds, 1e3)


def _spread(values: Quantiles, scale: float) -> str:
    return f"{rounded(values.median * scale)} ({rounded(values.p10 * scale)} to {rounded(values.p90 * scale)})"


def _accuracy_table(accuracy: Accuracy) -> Table:
    reference = accuracy.reference
    header = ("", "top-1, %", "top-5, %", f"same answer as {reference}, %", f"top-1 less {reference}'s, points")
    rows = []
    for score in sorted(accuracy.scores, key=order):
        is_reference = score.contender.name == reference
        agreement = "(reference)" if is_reference else _share(score.agreement)
        rows.append(
            [score.contender.name, _share(score.top1), _share(score.top5), agreement, _points(score.top1_difference)]
        )
    return _without_empty_columns(header, rows)


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
    against = f"{footprints.reference} / it"
    header = (
        *("", "start to first answer, s", against, "peak memory, MB", against),
        *("model on disk, MB", against, "installed, MB", against),
    )
    reference = next((entry for entry in footprints.contenders if entry.contender.name == footprints.reference), None)
    model_bytes, installed_bytes = (reference.model_bytes, reference.installed_bytes) if reference else (0, 0)
    rows = []
    for entry in sorted(footprints.contenders, key=order):
        cells = [entry.contender.name, rounded(entry.first_answer.median), ratio(entry.first_answer_speedup)]
        cells += [rounded(entry.peak_bytes.median / 1e6), ratio(entry.peak_ratio)]
        cells += [
            rounded(entry.model_bytes / 1e6),
            _size_ratio(model_bytes, entry.model_bytes),
        ]
        cells += [
            f"{rounded(entry.installed_bytes / 1e6)} ({entry.installed_packages} packages)",
            _size_ratio(installed_bytes, entry.installed_bytes),
        ]
        if entry is reference:
            cells[2::2] = [_REFERENCE] * 4
        rows.append(cells)
    return _without_empty_columns(header, rows)


def _size_ratio(reference: int, size: int) -> str:
    """A ratio of what was counted, not measured: it has no interval."""
    return f"{reference / size:.2f}" if reference and size else ""


def _limit_table(limits: Limits) -> Table:
    header = (
        *("", "batch", "threads", "operations, GOP (by the paper)", "linear layers alone, ms", "at GOP/s"),
        *("whole pass, ms", "share reached"),
    )
    same = len({(limit.batch, limit.threads) for limit in limits.artifacts}) == 1
    rows = []
    for limit in sorted(limits.artifacts, key=order):
        linear = sum(2 * p.rows * p.inner * p.columns * p.times for p in limit.products)
        rows.append(
            [
                limit.contender.name,
                *(("", "") if same else (str(limit.batch), str(limit.threads))),
                f"{rounded(limit.operations / 1e9)} ({rounded(limit.architecture_operations / 1e9)})",
                rounded(1e3 * limit.floor_seconds),
                rounded(linear / limit.floor_seconds / 1e9) if limit.floor_seconds else "",
                rounded(1e3 * limit.pass_seconds),
                f"{limit.reached:.0%}",
            ]
        )
    return _without_empty_columns(header, rows)


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


def _without_empty_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    kept = [0, *(column for column in range(1, len(header)) if any(row[column] for row in rows))]
    return Table(
        header=tuple(header[column] for column in kept),
        rows=tuple(tuple(row[column] for column in kept) for row in rows),
    )
