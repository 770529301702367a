"""Results as tables: Markdown for the README, aligned text for the terminal. Both have the same rows.

Units: ms, s, MB (10^6 bytes), GOP (10^9 operations); three significant digits, ratios and their intervals two decimals.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar, get_args

from vit_bench.results import (
    Accuracy,
    Contender,
    ContenderLatency,
    Difference,
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
    Share,
    Timing,
)
from vit_bench.task import Tool

Section: TypeAlias = "Latency | Accuracy | Footprints | Limits"
Entry: TypeAlias = "ContenderLatency | Score | Footprint | Limit"
S_co = TypeVar("S_co", bound=Section, covariant=True)

UNCLEAR: Final = "no clear difference"
_REFERENCE: Final = "1 (reference)"
_NOTABLE_LOAD: Final = 0.05
"""Share of the processors that others may take before it is told."""
_TOOLS: Final = get_args(Tool)
_PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
_IMPLIED: Final = {
    "avx": ("avx2", "avx512f"),
    "avx2": ("avx512f",),
    "avx512f": ("avx512_vnni", "avx512_bf16", "avx512_fp16"),
    "avx_vnni": ("avx512_vnni",),
    "amx_tile": ("amx_int8", "amx_bf16"),
    "neon": ("asimddp", "asimdhp"),
    "asimd": ("asimddp", "asimdhp"),
    "asimdhp": ("asimddp",),
    "sve": ("sve2",),
}
"""Instruction sets that go without saying where one of the others is named."""


@dataclass(frozen=True, kw_only=True)
class Measured(Generic[S_co]):
    """A section of the results, of one run or merged from several, and where it comes from."""

    section: S_co
    runs: tuple[Results, ...]
    """Those that something in it was measured in, the newest first; at least one."""
    notes: tuple[str, ...] = ()
    """What to know about the merging."""


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


def markdown_table(measured: Measured[Section]) -> str:
    """A section: a line on the machine and the run, the table, what to know about it; kernels folded away."""
    section = measured.section
    parts = [f"**{escape(title(section))}.** {escape(card_line(measured))}", main_table(section).markdown()]
    parts += [
        f"<details><summary>Where the time goes: {html.escape(limit.contender.name)}</summary>\n\n"
        f"{kernel_table(limit).markdown()}\n\n</details>"
        for limit in limits(section)
    ]
    if said := notes(measured):
        parts.append("\n".join(f"- {escape(line)}" for line in said))
    return "\n\n".join(parts)


def title(section: Section) -> str:
    """What a section is about, in a few words."""
    if isinstance(section, Latency):
        return f"Latency, batch {section.batch}"
    if isinstance(section, Accuracy):
        return f"Accuracy on {section.pictures} photos"
    return "Footprint" if isinstance(section, Footprints) else "Share of the engine's own speed"


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


def timing_of(entry: ContenderLatency, kind: Kind) -> Timing | None:
    """A contender's latency of one kind; None where it was not measured."""
    return next((timing for timing in entry.timings if timing.kind == kind), None)


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


def limits(section: Section) -> list[Limit]:
    """The artifacts whose kernels are known, in the order of the table."""
    return sorted(section.artifacts, key=order) if isinstance(section, Limits) else []


def entries(section: Section) -> tuple[Entry, ...]:
    """Whatever a section has one of for each contender."""
    if isinstance(section, Accuracy):
        return section.scores
    return section.artifacts if isinstance(section, Limits) else section.contenders


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


def card_line(measured: Measured[Section]) -> str:
    """The machine and the run: device, processor, instructions, threads, versions, date, load where notable."""
    section, runs = measured.section, measured.runs
    cards = [run.card for run in runs]
    versions = [f"vit-edge {run.vit_edge}" for run in runs]
    versions += [entry.contender.version for entry in sorted(entries(section), key=order)]
    parts = [
        *(card.device for card in cards),
        *(card.processor for card in cards),
        *(", ".join(_telling(card.instruction_sets)) for card in cards),
        *_settings(section),
        ", ".join(dict.fromkeys(versions)),
        *(f"{card.governor} governor" for card in cards if card.governor not in (None, "performance")),
        ", ".join(dict.fromkeys(card.date[:10] for card in cards)),
    ]
    loads = [card.load for card in cards if card.load is not None]
    for who, taken in (
        ("other programs", max((load.others for load in loads), default=0.0)),
        ("other virtual machines", max((load.stolen for load in loads), default=0.0)),
    ):
        if taken > _NOTABLE_LOAD:
            parts.append(f"{who} took {taken:.0%} of the processors")
    return "; ".join(dict.fromkeys(filter(None, parts)))


def _telling(instruction_sets: Sequence[str]) -> list[str]:
    return [name for name in instruction_sets if not set(_IMPLIED.get(name, ())) & set(instruction_sets)]


def _settings(section: Section) -> list[str]:
    """What was the same for all rows."""
    if isinstance(section, Accuracy):
        unreadable = f"{section.unreadable} unreadable ones left out" if section.unreadable else ""
        return [f"right answers: {section.labels}", unreadable]
    if isinstance(section, Limits):
        used = {(limit.batch, limit.threads) for limit in section.artifacts}
        return [f"batch {batch}, {threads_text(threads)}" for batch, threads in used] if len(used) == 1 else []
    photo = [f"photo: {section.photo}"] if isinstance(section, Latency) else []
    return [threads_text(section.threads), *photo]


def threads_text(threads: int) -> str:
    """How many, with the noun."""
    return f"{threads} thread{'' if threads == 1 else 's'}"


def notes(measured: Measured[Section]) -> list[str]:
    """What to know about a table: who is absent and why, warnings, what was interrupted or merged."""
    section = measured.section
    lines = list(measured.notes)
    if section.interrupted:
        lines.append("Interrupted: not everything was measured that was to be.")
    if isinstance(section, Accuracy):
        lines += _clear_differences(section)
    if isinstance(section, Latency):
        lines += _how_they_ran(contender.contender for contender in section.contenders)
        if section.reference_weights == "random":
            lines.append("Other tools ran random weights, which takes the same time.")
    if not isinstance(section, Limits):
        lines += [
            f"{absent.name} {'failed' if absent.crashed else 'was not measured'}: {absent.reason}"
            for absent in section.absent
        ]
    return lines + [f"Warning: {warning}" for warning in section.warnings]


def _clear_differences(accuracy: Accuracy) -> list[str]:
    """Which of the differences of top-1 are one; hardly any is, and a word in every row would hide that."""
    compared = [score for score in sorted(accuracy.scores, key=order) if score.top1_difference is not None]
    clear = [
        score.contender.name for score in compared if score.top1_difference and not _holds(score.top1_difference, 0.0)
    ]
    if not compared:
        return []
    if not clear:
        return [f"Top-1: {UNCLEAR} from {accuracy.reference}, since every interval holds 0."]
    rest = "" if len(clear) == len(compared) else f"; the others: {UNCLEAR}"
    return [f"Top-1 differs clearly from {accuracy.reference}'s: {', '.join(clear)}{rest}."]


def _how_they_ran(contenders: Iterable[Contender]) -> list[str]:
    details: dict[str, list[str]] = {}
    for contender in contenders:
        if contender.detail:
            details.setdefault(contender.detail, []).append(contender.name)
    told = [f"{', '.join(names)}: {detail}" for detail, names in details.items()]
    return [f"As run: {'; '.join(told)}."] if told else []


def _holds(interval: Ratio | Difference, value: float) -> bool:
    return interval.low <= value <= interval.high


def ratio(value: Ratio | None) -> str:
    """A ratio with its interval, in words where that holds 1; empty where there is none."""
    if value is None:
        return ""
    if value.pairs < 2:
        return f"{value.value:.2f} (one round: no interval)"
    unclear = f": {UNCLEAR}" if _holds(value, 1.0) else ""
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
