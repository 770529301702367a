"""What stands above and below a table in words: the machine, the run, and what speaks against the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from vit_bench.report.merging import Measured, order
from vit_bench.results import Accuracy, Contender, Footprints, Latency, Limits, Section, Throughput
from vit_runtime.wording import plural

UNCLEAR: Final = "no clear difference"
_NOTABLE_LOAD: Final = 0.05
"""Share of the processors that others may take before it is told."""
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


def title(section: Section) -> str:
    """What a section is about, in a few words."""
    if isinstance(section, Latency):
        return f"Latency, batch {section.batch}"
    if isinstance(section, Accuracy):
        return f"Accuracy on {section.pictures} photos"
    if isinstance(section, Throughput):
        return f"A folder of {section.pictures} photos"
    return "Footprint" if isinstance(section, Footprints) else "Linear layers alone, against the whole pass"


def card_line(measured: Measured) -> str:
    """The machine and the run in one line."""
    return joined([*(run.card.device for run in measured.runs), *machine_parts(measured), *settings_parts(measured)])


def machine_parts(measured: Measured) -> list[str]:
    """Processor, instructions, date of the run, and governor and load where notable."""
    cards = [run.card for run in measured.runs]
    parts = [
        *(card.processor for card in cards),
        *(", ".join(_telling(card.instruction_sets)) for card in cards),
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
    return parts


def settings_parts(measured: Measured) -> list[str]:
    """What was the same for all rows, threads for one, and the versions."""
    versions = [f"vit-edge {run.vit_edge}" for run in measured.runs]
    versions += [entry.contender.version for entry in measured.entries]
    return [*_settings(measured.section), ", ".join(dict.fromkeys(versions))]


def joined(parts: Iterable[str]) -> str:
    """Each once, without the empty ones."""
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
    if isinstance(section, Throughput):
        return [plural(section.threads, "core"), f"photos: {section.photos}"]
    photo = [f"photo: {section.photo}"] if isinstance(section, Latency) else []
    return [threads_text(section.threads), *photo]


def threads_text(threads: int) -> str:
    """How many, with the noun."""
    return plural(threads, "thread")


def notes(measured: Measured) -> list[str]:
    """What to know about a table: who is absent and why, warnings, what was interrupted or merged."""
    section = measured.section
    lines = list(measured.notes)
    if section.interrupted:
        lines.append("Interrupted: not everything was measured that was to be.")
    if isinstance(section, Accuracy):
        lines += _clear_differences(section)
    if isinstance(section, Throughput):
        least = min((entry.passes for entry in section.contenders), default=0)
        lines.append(
            f"In every pass each picture was answered once, none lost, none repeated: counted in {least} or more."
        )
        lines += _how_they_read(section)
    if isinstance(section, Latency | Throughput):
        lines += _how_they_ran(entry.contender for entry in section.contenders)
        if section.reference_weights == "random":
            lines.append("Other tools ran random weights, which takes the same time.")
    lines += [
        f"{absent.name} {'failed' if absent.crashed else 'was not measured'}: {absent.reason}"
        for absent in section.absent
    ]
    return lines + [f"Warning: {warning}" for warning in section.warnings]


def _clear_differences(accuracy: Accuracy) -> list[str]:
    """Which of the differences of top-1 are one; hardly any is, and a word in every row would hide that."""
    compared = [score for score in sorted(accuracy.scores, key=order) if score.top1_difference is not None]
    clear = [score.contender.name for score in compared if score.top1_difference and score.top1_difference.is_clear]
    if not compared:
        return []
    if not clear:
        return [f"Top-1: {UNCLEAR} from {accuracy.reference}, since every interval holds 0."]
    rest = "" if len(clear) == len(compared) else f"; the others: {UNCLEAR}"
    return [f"Top-1 differs clearly from {accuracy.reference}'s: {', '.join(clear)}{rest}."]


def _how_they_read(throughput: Throughput) -> list[str]:
    readings: dict[str, list[str]] = {}
    for entry in sorted(throughput.contenders, key=order):
        readings.setdefault(entry.reading, []).append(entry.contender.name)
    told = [f"{', '.join(names)}: {reading}" for reading, names in readings.items()]
    return [f"Over the folder: {'. '.join(told)}."]


def _how_they_ran(contenders: Iterable[Contender]) -> list[str]:
    details: dict[str, list[str]] = {}
    for contender in contenders:
        if contender.detail:
            details.setdefault(contender.detail, []).append(contender.name)
    told = [f"{', '.join(names)}: {detail}" for detail, names in details.items()]
    return [f"As run: {'; '.join(told)}."] if told else []
