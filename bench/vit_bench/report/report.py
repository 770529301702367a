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
from urllib.parse import quote

from vit_bench.contenders.names import OWN
from vit_bench.errors import OutdatedError, ResultsError
from vit_bench.report.captions import joined, machine_parts
from vit_bench.report.merging import DeviceResults, merge
from vit_bench.report.pages import REMEDY
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
from vit_bench.report.summary import summarize
from vit_bench.report.tables import escape, markdown_table
from vit_bench.results import Accuracy, Latency, Results
from vit_runtime.files import atomic_write, blame


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
    """What results say, for pages to show."""

    markdown: str
    """Every table, with links to the plots."""
    summary: str
    """A small table for each device and model."""
    plots: tuple[PlotFile, ...]


def make_report(results: Sequence[Results], *, plots: Path, page: Path) -> Report:
    """Tables and plots; nothing is drawn or written yet.

    Args:
        results: of any number of runs and devices.
        plots: the folder for plots.
        page: the file whose folder the Markdown's links start from.

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
                parts.append(f"![{escape(_alt_text(plot))}]({_link(path, page)})")
        for model in device.models:
            parts.append(f"#### {escape(model)}")
            own = [measured for measured in device.measured if measured.section.model == model]
            parts += [markdown_table(measured, machine=not same) for measured in own]
        if device.warnings:
            parts.append("\n".join(f"- Warning: {escape(warning)}" for warning in device.warnings))
    summary = "\n\n".join(filter(None, map(summarize, devices)))
    return Report(markdown="\n\n".join(parts), summary=summary, plots=tuple(files))


def check_plots(report: Report) -> None:
    """Holds the plots against a report.

    Raises:
        OutdatedError: a plot is missing or was made from other data.
    """
    for file in report.plots:
        if problem := file.problem:
            raise OutdatedError(file.path, problem, REMEDY)


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


def _bars_plot(device: DeviceResults) -> BarsPlot | None:
    found = [device.fullest(Latency, model) for model in device.models]
    panels = tuple(latency for latency in found if latency and bars(latency))
    return BarsPlot(device=device.device, panels=panels) if panels else None


def _pareto_plot(device: DeviceResults) -> ParetoPlot | None:
    found = [(device.fullest(Latency, model), device.fullest(Accuracy, model)) for model in device.models]
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


def _link(path: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(path.absolute(), page.parent.absolute())).as_posix())
