"""`vit-bench report`: tables and plots from any number of results.

The same results give the same text and the same plots, in whatever order their files are given.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from vit_bench.errors import OutdatedError, ResultsError
from vit_bench.report.captions import joined, machine_parts
from vit_bench.report.merging import DeviceResults, entries, merge
from vit_bench.report.plots import (
    BarsPlot,
    ParetoPlot,
    Plot,
    bars,
    digest,
    pareto_front,
    png,
    png_digest,
    points,
    speedup,
)
from vit_bench.report.tables import escape, markdown_table
from vit_bench.results import OWN, Accuracy, Latency, Results
from vit_runtime.files import atomic_write, blame

_T = TypeVar("_T", Latency, Accuracy)


@dataclass(frozen=True, kw_only=True)
class PlotFile:
    """A plot, and where it belongs."""

    path: Path
    plot: Plot

    @property
    def problem(self) -> str:
        """What is wrong with the file; empty where nothing is."""
        if not self.path.exists():
            return "is missing"
        return "" if png_digest(self.path) == digest(self.plot) else "was made from other data"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a README shows."""

    markdown: str
    plots: tuple[PlotFile, ...]


def make_report(results: Sequence[Results], *, plots: Path, readme: Path = Path("README.md")) -> Report:
    """Tables and plots; nothing is drawn or written yet.

    Args:
        results: of any number of runs and devices.
        plots: the folder for plots.
        readme: the file whose folder the Markdown's links start from.

    Raises:
        ResultsError: nothing was measured in them.
    """
    devices = merge(results)
    if not devices:
        raise ResultsError("results", "nothing was measured in them", "give others")
    slugs = _slugs([device.device for device in devices])
    parts: list[str] = []
    files: list[PlotFile] = []
    for device, slug in zip(devices, slugs, strict=True):
        parts.append(f"### {escape(device.device)}")
        machines = {joined(machine_parts(measured)) for measured in device.measured}
        same = len(machines) == 1
        if same:
            parts.append(escape(*machines))
        for name, plot in (("pareto", _pareto_plot(device)), ("bars", _bars_plot(device))):
            if plot is not None:
                path = plots / f"bench.{name}.{slug}.png"
                files.append(PlotFile(path=path, plot=plot))
                parts.append(f"![{escape(_alt_text(plot))}]({_link(path, readme)})")
        for model in device.models:
            parts.append(f"#### {escape(model)}")
            own = [measured for measured in device.measured if measured.section.model == model]
            parts += [markdown_table(measured, machine=not same) for measured in own]
        if device.warnings:
            parts.append("\n".join(f"- Warning: {escape(warning)}" for warning in device.warnings))
    return Report(markdown="\n\n".join(parts), plots=tuple(files))


def write_plots(report: Report) -> list[Path]:
    """Draws the plots that are missing or show other data, and leaves the others alone; the paths that it wrote.

    Raises:
        OutputFileError: the folder cannot be made, or takes no file.
        MissingDependencyError: matplotlib is not installed.
    """
    written = []
    for file in report.plots:
        if file.problem:
            drawn = png(file.plot)
            with blame(file.path, "choose another place"):
                file.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(file.path) as out:
                out.write(drawn)
            written.append(file.path)
    return written


def _fullest(device: DeviceResults, kind: type[_T], model: str) -> _T | None:
    """Where a model has several tables, the one for the plots: of the most contenders, else the newest."""
    own = [
        (len(entries(section)), measured.runs[0].card.date, section)
        for measured in device.measured
        if isinstance(section := measured.section, kind)
        if section.model == model and getattr(section, "batch", 1) == 1
    ]
    return max(own, key=lambda found: found[:2])[-1] if own else None


def _bars_plot(device: DeviceResults) -> BarsPlot | None:
    found = [_fullest(device, Latency, model) for model in device.models]
    panels = tuple(latency for latency in found if latency and bars(latency))
    return BarsPlot(device=device.device, panels=panels) if panels else None


def _pareto_plot(device: DeviceResults) -> ParetoPlot | None:
    found = [(_fullest(device, Latency, model), _fullest(device, Accuracy, model)) for model in device.models]
    panels = tuple((each, accuracy) for each, accuracy in found if each and accuracy and points(each, accuracy))
    return ParetoPlot(device=device.device, panels=panels) if panels else None


def _alt_text(plot: Plot) -> str:
    """What is to be seen, for those who do not see it."""
    told = []
    if isinstance(plot, BarsPlot):
        for latency in plot.panels:
            own = [entry for entry in bars(latency) if entry.contender.tool == OWN]
            ratios = [
                f"{entry.contender.name} {ratio.value:.2f}" for entry in own if (ratio := speedup(entry, "model"))
            ]
            told.append(
                f"{latency.model}, {len(bars(latency))} contenders, "
                f"times as fast as {latency.reference} with the model alone: {', '.join(ratios)}"
            )
        return f"Bars for {plot.device}. {'; '.join(told)}"
    for latency, accuracy in plot.panels:
        shown = points(latency, accuracy)
        told.append(
            f"{latency.model}: of {len(shown)} contenders none is both faster and more accurate than "
            + ", ".join(point.name for point in pareto_front(shown))
        )
    return f"Latency against accuracy on {plot.device}. {'; '.join(told)}"


def _slugs(devices: Sequence[str]) -> list[str]:
    """Names for files; devices whose names differ only in what a file's name should not have get a number from it."""
    plain = [re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")[:48].strip("-") for device in devices]
    return [
        slug if slug and plain.count(slug) == 1 else f"{slug or 'device'}-{_short_hash(device)}"
        for slug, device in zip(plain, devices, strict=True)
    ]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _link(path: Path, readme: Path) -> str:
    return quote(Path(os.path.relpath(path.absolute(), readme.parent.absolute())).as_posix())


BEGIN: Final = "<!-- vit-bench: begin -->"
END: Final = "<!-- vit-bench: end -->"
_GIVE: Final = "give a README with vit-bench marks"
_SHOWN: Final = 120
"""Letters of a differing line that an error quotes."""


def update_readme(readme: Path, markdown: str) -> None:
    """Puts a report's text between a README's marks, and leaves all else as it is, line ends included.

    Raises:
        ResultsError: the README cannot be read, or its marks are missing, there twice, or in the wrong order.
        OutputFileError: it cannot be written.
    """
    lines, begin, end = _read_marked(readme)
    line_end = "\r\n" if lines[begin].endswith("\r\n") else "\n"
    block = [f"{line}{line_end}" for line in _block(markdown)]
    with atomic_write(readme) as file:
        file.write("".join([*lines[: begin + 1], *block, *lines[end:]]).encode())


def check_readme(readme: Path, report: Report) -> None:
    """Holds a README and the plots against a report.

    Raises:
        ResultsError: the README cannot be read, or its marks are missing, there twice, or in the wrong order.
        OutdatedError: a line differs, or a plot is missing or was made from other data.
    """
    remedy = f"run: vit-bench report ... --readme {readme}"
    lines, begin, end = _read_marked(readme)
    shown = [line.rstrip("\r\n") for line in lines[begin + 1 : end]]
    wanted = _block(report.markdown)
    for offset in range(max(len(shown), len(wanted))):
        found, should = (side[offset] if offset < len(side) else None for side in (shown, wanted))
        if found != should:
            what = f"line {begin + 2 + offset} is {_quoted(found)}, and the results give {_quoted(should)}"
            raise OutdatedError(readme, what, remedy)
    for file in report.plots:
        if problem := file.problem:
            raise OutdatedError(file.path, problem, remedy)


def _block(markdown: str) -> list[str]:
    return ["", *markdown.splitlines(), ""]


def _read_marked(readme: Path) -> tuple[list[str], int, int]:
    """A README's lines with their ends, and where its two marks stand."""
    try:
        lines = readme.read_bytes().decode("utf-8").splitlines(keepends=True)
    except OSError as error:
        raise ResultsError(readme, f"cannot be read ({error.strerror})", _GIVE) from error
    except UnicodeDecodeError as error:
        raise ResultsError(readme, "is not UTF-8", _GIVE) from error
    places = []
    for mark in (BEGIN, END):
        found = [number for number, line in enumerate(lines) if line.strip() == mark]
        if len(found) != 1:
            what = f"has the line {mark} {len(found)} times" if found else f"has no line {mark}"
            raise ResultsError(readme, what, f"let {BEGIN} and {END} stand once each, on lines of their own")
        places += found
    if places[0] > places[1]:
        raise ResultsError(readme, f"has {END} in front of {BEGIN}", "swap them")
    return lines, places[0], places[1]


def _quoted(line: str | None) -> str:
    if line is None:
        return "missing"
    return f"'{line}'" if len(line) <= _SHOWN else f"'{line[:_SHOWN]}...'"
