"""Draws the report's plots: latency against accuracy with its Pareto front, and bars of how many times as fast."""

from __future__ import annotations

import hashlib
import io
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from vit_bench.contenders.names import OWN
from vit_bench.report.captions import threads_text
from vit_bench.report.merging import order
from vit_bench.results import (
    Accuracy,
    ContenderLatency,
    Kind,
    Latency,
    Quantiles,
    Ratio,
    Share,
)
from vit_runtime.artifact import codec
from vit_runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DIGEST_KEY: Final = "vit-bench"
"""Name of the PNG's text chunk that holds the digest."""


@dataclass(frozen=True, kw_only=True)
class BarsPlot:
    """One device's contenders against the reference, a row of panels for each model."""

    device: str
    panels: tuple[Latency, ...]


@dataclass(frozen=True, kw_only=True)
class ParetoPlot:
    """Latency against accuracy on one device, a panel for each model."""

    device: str
    panels: tuple[tuple[Latency, Accuracy], ...]


Plot: TypeAlias = "BarsPlot | ParetoPlot"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One contender's latency, model alone, in seconds, and its accuracy."""

    name: str
    tool: str
    latency: Quantiles
    top1: Share

    @property
    def accuracy(self) -> float:
        """Top-1 as a share of 1."""
        return self.top1.count / self.top1.of


def speedup(entry: ContenderLatency, kind: Kind) -> Ratio | None:
    """How many times as fast as the reference a contender is; None for the reference, and where it was not measured."""
    timing = entry.timing(kind)
    return timing.speedup if timing else None


def bars(latency: Latency) -> list[ContenderLatency]:
    """Contenders that are compared with the reference, the fastest first."""
    rated = [
        (rate.value, entry)
        for entry in sorted(latency.contenders, key=order)
        if (rate := speedup(entry, "model") or speedup(entry, "photo")) and latency.reference is not None
    ]
    return [entry for _, entry in sorted(rated, key=lambda pair: -pair[0])]


def points(latency: Latency, accuracy: Accuracy) -> list[Point]:
    """The contenders of a model that both were measured of."""
    scores = {score.contender.name: score for score in accuracy.scores}
    return [
        Point(name=name, tool=entry.contender.tool, latency=timing.all_rounds, top1=scores[name].top1)
        for entry in sorted(latency.contenders, key=order)
        if (name := entry.contender.name) in scores and (timing := entry.timing("model"))
    ]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in latency or accuracy while it equals the other one; the fastest comes first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency.median, -point.accuracy)):
        best = front[-1] if front else None
        as_good = best and (point.latency.median, point.accuracy) == (best.latency.median, best.accuracy)
        if best is None or as_good or point.accuracy > best.accuracy:
            front.append(point)
    return front


def digest(plot: Plot) -> str:
    """SHA-256 of what a plot shows, as canonical JSON."""
    text = json.dumps([type(plot).__name__, codec.encode(plot)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def png_digest(path: Path) -> str | None:
    """The digest that a plot's file carries; None where it has none or is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            found = image.info.get(DIGEST_KEY)
    except (OSError, SyntaxError, ValueError):
        return None
    return found if isinstance(found, str) else None


_WIDTH_INCHES, _DPI = 8.0, 150
_ACCENT, _GREY, _INK = "#0072B2", "#A6A6A6", "#333333"
_LOOKS: Final = {  # colours of Okabe and Ito, "Color universal design" (2008)
    "torch": ("#000000", "s"),
    "torch-compile": ("#000000", "D"),
    "torch-bf16": ("#000000", "^"),
    "torch-int8": ("#000000", "v"),
    "onnx": ("#D55E00", "s"),
    "onnx-optimized": ("#D55E00", "D"),
    "onnx-dynamic": ("#D55E00", "v"),
    "openvino": ("#009E73", "s"),
    "openvino-bf16": ("#009E73", "^"),
    "openvino-int8": ("#009E73", "v"),
    "openvino-int8-bf16": ("#009E73", "<"),
    "mnn": ("#CC79A7", "s"),
    "mnn-int8": ("#CC79A7", "v"),
    "ncnn": ("#56B4E9", "s"),
    "executorch": ("#E69F00", "s"),
    "executorch-int8": ("#E69F00", "v"),
}
"""One colour for an engine, one marker for what it does; square: fp32 as it comes, triangle: fewer bits."""
_OWN_MARKERS: Final = "oPX*dph8"
"""Markers for our own files, one after the other."""
_KINDS: Final[dict[Kind, str]] = {"model": "model alone", "photo": "photo to answer"}
_STYLE: Final[dict[str, object]] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _INK,
    "axes.titlesize": 11,
    "figure.titlesize": 12,
    "text.color": _INK,
    "text.parse_math": False,  # a dollar in a device's name is a dollar
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def png(plot: Plot) -> bytes:
    """Draws a plot: 1200 pixels wide, white behind it; the same bytes each time with the same matplotlib.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    file = io.BytesIO()
    with _settings():
        # matplotlib would name its version, and there is no date unless one is given.
        draw(plot).savefig(file, format="png", metadata={"Software": None, DIGEST_KEY: digest(plot)})
    return file.getvalue()


def draw(plot: Plot) -> Figure:
    """A plot's figure, complete.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    with _settings():
        return _bars(plot) if isinstance(plot, BarsPlot) else _pareto(plot)


@contextmanager
def _settings() -> Iterator[None]:
    """The settings that matplotlib comes with, and ours, whatever the user's are."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "vit-edge[bench]") from error
    with style.context(["default", _STYLE]):
        yield


def _bars(plot: BarsPlot) -> Figure:
    """Bars against peers: a row of panels for each model, a column for each kind of latency."""
    heights = [len(bars(latency)) + 3.0 for latency in plot.panels]
    figure, grid = _figure(f"Speed on {plot.device}", heights, height=0.5 + 0.27 * sum(heights), columns=2)
    for row, latency in zip(grid, plot.panels, strict=True):
        for axes, kind in zip(row, _KINDS, strict=True):
            _draw_bars(axes, latency, kind)
        row[0].set_title(f"{latency.model}, batch 1, {threads_text(latency.threads)}\n{_KINDS['model']}", loc="left")
        row[1].set_title(_KINDS["photo"], loc="left")
        row[1].tick_params(labelleft=False)
    return figure


def _draw_bars(axes: Axes, latency: Latency, kind: Kind) -> None:
    shown = bars(latency)
    for position, entry in enumerate(shown):
        ratio = speedup(entry, kind)
        if ratio is None:
            continue
        own = entry.contender.tool == OWN
        whisker = [[max(0.0, ratio.value - ratio.low)], [max(0.0, ratio.high - ratio.value)]]
        axes.barh(
            *(position, ratio.value),
            height=0.68,
            color=_ACCENT if own else _GREY,
            xerr=whisker,
            error_kw={"ecolor": _INK, "elinewidth": 1.1, "capsize": 2.5, "capthick": 1.1},
        )
        axes.annotate(
            f"{ratio.value:.2f}",
            (max(ratio.high, ratio.value), position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold" if own else "normal",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},  # hides the line at 1
        )
    axes.axvline(1.0, color=_INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0.5)
    both_kinds = [ratio.high for entry in shown for each in _KINDS if (ratio := speedup(entry, each))]
    axes.set_xlim(0, 1.22 * max(1.0, *both_kinds))  # on one scale
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [entry.contender.name for entry in shown])
    axes.tick_params(axis="y", length=0)
    for label, entry in zip(axes.get_yticklabels(), shown, strict=True):
        label.set_fontweight("bold" if entry.contender.tool == OWN else "normal")
    axes.set_xlabel(f"times as fast as {latency.reference}")


def _pareto(plot: ParetoPlot) -> Figure:
    """Scatters, one below the other for each model: further left is faster, further up is more accurate."""
    title = f"Latency against accuracy on {plot.device}"
    figure, grid = _figure(title, [1.0] * len(plot.panels), height=0.5 + 4.6 * len(plot.panels), columns=1)
    for (axes,), (latency, accuracy) in zip(grid, plot.panels, strict=True):
        _draw_scatter(axes, latency, accuracy)
    return figure


def _draw_scatter(axes: Axes, latency: Latency, accuracy: Accuracy) -> None:
    shown = points(latency, accuracy)
    own = [point.name for point in shown if point.tool == OWN]
    for point in sorted(shown, key=lambda point: point.latency.median):  # the legend's order is that of the points
        _draw_point(axes, point, _OWN_MARKERS[own.index(point.name) % len(_OWN_MARKERS)] if point.name in own else "")
    fastest, slowest = (pick(1e3 * point.latency.median for point in shown) for pick in (min, max))
    left, right = fastest / 1.25 / (slowest / fastest) ** 0.08, slowest * 1.3 * (slowest / fastest) ** 0.08
    front = pareto_front(shown)
    xs, ys = [1e3 * point.latency.median for point in front], [100 * point.accuracy for point in front]
    axes.step([*xs, right], [*ys, ys[-1]], where="post", color="#B0B0B0", linewidth=1.8, zorder=1, label="Pareto front")
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_xticks(ticks := _ticks(left, right), [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(color="#EEEEEE", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("model alone, batch 1, ms (10th to 90th percentile); left is faster")
    axes.set_ylabel("top-1, % (95 % interval)")
    axes.set_title(f"{latency.model}: {accuracy.pictures} photos, {threads_text(latency.threads)}", loc="left")
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title="the fastest first")
    for text in legend.get_texts():
        text.set_fontweight("bold" if text.get_text() in own else "normal")


def _draw_point(axes: Axes, point: Point, own_marker: str) -> None:
    """A marker between its intervals; `own_marker` is empty for others than vit-edge."""
    colour, marker = (_ACCENT, own_marker) if own_marker else _LOOKS.get(point.tool, (_GREY, "h"))
    x, y, taken, top1 = 1e3 * point.latency.median, 100 * point.accuracy, point.latency, point.top1
    across = [[1e3 * (taken.median - taken.p10)], [1e3 * (taken.p90 - taken.median)]]
    up = [[max(0.0, y - 100 * top1.low)], [max(0.0, 100 * top1.high - y)]]
    axes.errorbar(x, y, xerr=across, yerr=up, fmt="none", ecolor=colour, alpha=0.35, elinewidth=1.2, zorder=2)
    axes.plot(
        *(x, y, marker),
        color=colour,
        markersize=11 if own_marker else 7,
        mec="white",
        mew=1.0,
        zorder=3 if own_marker else 4,
        linestyle="none",
        label=point.name,
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis, as many as one can read."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    fine = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)
    for steps in (fine, (1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1,)):
        found = [t for decade, step in product(decades, steps) if low <= (t := step * 10.0**decade) <= high]
        if len(found) <= 9:
            break
    return found


def _figure(title: str, heights: Sequence[float], *, height: float, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure of so many inches with a grid of axes, a row for each of the `heights`, which are relative."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": list(heights)})
    figure.suptitle("\n".join(textwrap.wrap(title, 70)), fontweight="bold")
    return figure, [list(row) for row in grid]
