"""Draws the report's plots: latency against accuracy with its Pareto front, and bars of how many times as fast."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, product
from typing import TYPE_CHECKING, Final

from vit_bench.captions import threads_text
from vit_bench.label_places import LABEL_COST, LINE_COST, Place, place_labels
from vit_bench.plot_data import (
    DIGEST_KEY,
    OWN,
    BarPanel,
    BarsPlot,
    ParetoPanel,
    ParetoPlot,
    Plot,
    Point,
    accuracy_of,
    digest,
    pareto_front,
)
from vit_bench.results import Kind
from vit_runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

_WIDTH_INCHES, _DPI = 8.0, 150
_ACCENT, _GREY, _INK = "#0072B2", "#A6A6A6", "#333333"
_LOOKS: Final = {  # colours of Okabe and Ito, "Color universal design" (2008)
    OWN: (_ACCENT, "o"),
    "torch": ("#000000", "s"),
    "torch-compile": ("#000000", "D"),
    "torch-bf16": ("#000000", "^"),
    "onnx": ("#D55E00", "s"),
    "onnx-dynamic": ("#D55E00", "v"),
    "openvino": ("#009E73", "s"),
    "openvino-bf16": ("#009E73", "^"),
    "openvino-int8": ("#009E73", "v"),
}
"""One colour for an engine, one marker for what it does; square: fp32 as it comes, triangle: fewer bits."""
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
    heights = [len(panel.bars) + 3.0 for panel in plot.panels]
    figure, grid = _figure(f"Speed on {plot.device}", heights, height=0.5 + 0.27 * sum(heights), columns=2)
    for row, panel in zip(grid, plot.panels, strict=True):
        for axes, kind in zip(row, _KINDS, strict=True):
            _draw_bars(axes, panel, kind)
        row[0].set_title(f"{panel.model}, batch 1, {threads_text(panel.threads)}\n{_KINDS['model']}", loc="left")
        row[1].set_title(_KINDS["photo"], loc="left")
        row[1].tick_params(labelleft=False)
    return figure


def _draw_bars(axes: Axes, panel: BarPanel, kind: Kind) -> None:
    ratios = [ratio for each in panel.bars for ratio in (each.model, each.photo) if ratio is not None]
    for position, bar in enumerate(panel.bars):
        speedup = bar.model if kind == "model" else bar.photo
        if speedup is None:
            continue
        own = bar.tool == OWN
        whisker = [[max(0.0, speedup.value - speedup.low)], [max(0.0, speedup.high - speedup.value)]]
        axes.barh(
            *(position, speedup.value),
            height=0.68,
            color=_ACCENT if own else _GREY,
            xerr=whisker,
            error_kw={"ecolor": _INK, "elinewidth": 1.1, "capsize": 2.5, "capthick": 1.1},
        )
        axes.annotate(
            f"{speedup.value:.2f}",
            (max(speedup.high, speedup.value), position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold" if own else "normal",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},  # hides the line at 1
        )
    axes.axvline(1.0, color=_INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set_xlim(0, 1.22 * max(1.0, *(ratio.high for ratio in ratios)))  # both kinds on one scale
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.set_yticks(range(len(panel.bars)), [bar.name for bar in panel.bars])
    axes.tick_params(axis="y", length=0)
    for label, bar in zip(axes.get_yticklabels(), panel.bars, strict=True):
        label.set_fontweight("bold" if bar.tool == OWN else "normal")
    axes.set_xlabel(f"times as fast as {panel.reference}")


def _pareto(plot: ParetoPlot) -> Figure:
    """Scatters, one below the other for each model: further left is faster, further up is more accurate."""
    title = f"Latency against accuracy on {plot.device}"
    figure, grid = _figure(title, [1.0] * len(plot.panels), height=0.5 + 4.6 * len(plot.panels), columns=1)
    placed = [_draw_points(axes, panel) for (axes,), panel in zip(grid, plot.panels, strict=True)]
    figure.draw_without_rendering()  # decides where the axes lie, and so where there is room for labels
    figure.set_layout_engine("none")
    for (axes,), panel, labels in zip(grid, plot.panels, placed, strict=True):
        _place_labels(axes, panel.points, labels)
    return figure


def _draw_points(axes: Axes, panel: ParetoPanel) -> list[Annotation]:
    """Draws everything but gives the labels their places: they lie on their points until then."""
    labels = []
    for point in panel.points:
        colour, marker = _LOOKS.get(point.tool, (_GREY, "h"))
        own = point.tool == OWN
        x, y, latency, top1 = 1e3 * point.latency.median, 100 * accuracy_of(point), point.latency, point.top1
        across = [[1e3 * (latency.median - latency.p10)], [1e3 * (latency.p90 - latency.median)]]
        up = [[max(0.0, y - 100 * top1.low)], [max(0.0, 100 * top1.high - y)]]
        axes.errorbar(x, y, xerr=across, yerr=up, fmt="none", ecolor=colour, alpha=0.35, elinewidth=1.2, zorder=2)
        size = 10 if own else 7
        axes.plot(x, y, marker, color=colour, markersize=size, mec="white", mew=1.0, zorder=3 if own else 4)
        labels.append(
            axes.annotate(
                point.name,
                (x, y),
                xytext=(0, 0),
                textcoords="offset pixels",
                ha="center",
                va="center",
                color=colour,
                fontweight="bold" if own else "normal",
                zorder=5,
                arrowprops={
                    "arrowstyle": "-",
                    "color": colour,
                    "linewidth": 0.8,
                    "alpha": 0.6,
                    "shrinkA": 0,
                    "shrinkB": 5,
                },
            )
        )
    fastest, slowest = (pick(1e3 * point.latency.median for point in panel.points) for pick in (min, max))
    left, right = fastest / 1.25 / (slowest / fastest) ** 0.08, slowest * 1.3 * (slowest / fastest) ** 0.08
    front = pareto_front(panel.points)
    xs, ys = [1e3 * point.latency.median for point in front], [100 * accuracy_of(point) for point in front]
    axes.step([*xs, right], [*ys, ys[-1]], where="post", color="#B0B0B0", linewidth=1.8, zorder=1)
    axes.annotate(
        *("Pareto front", (right, ys[-1])), xytext=(-2, 3), textcoords="offset points", ha="right", color="#777777"
    )
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_xticks(ticks := _ticks(left, right), [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(color="#EEEEEE", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("model alone, batch 1, ms (10th to 90th percentile); left is faster")
    axes.set_ylabel("top-1, % (95 % interval)")
    axes.set_title(f"{panel.model}: {panel.pictures} photos, {threads_text(panel.threads)}", loc="left")
    return labels


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


def _place_labels(axes: Axes, points: Sequence[Point], labels: Sequence[Annotation]) -> None:
    """Moves each label beside its point to where it covers least: other labels, points, lines, the rim."""
    to_pixels = axes.transData.transform
    centres: list[Place] = [tuple(to_pixels((1e3 * p.latency.median, 100 * accuracy_of(p)))) for p in points]
    rim = axes.get_window_extent()
    obstacles = [((x - 11, y - 11, x + 11, y + 11), LABEL_COST) for x, y in centres]
    for point, (x, y) in zip(points, centres, strict=True):
        left, bottom = to_pixels((1e3 * point.latency.p10, 100 * point.top1.low))
        right, top = to_pixels((1e3 * point.latency.p90, 100 * point.top1.high))
        obstacles += [((left, y - 2, right, y + 2), LINE_COST), ((x - 2, bottom, x + 2, top), LINE_COST)]
    front = [tuple(to_pixels((1e3 * p.latency.median, 100 * accuracy_of(p)))) for p in pareto_front(points)]
    obstacles += [((x, y - 3, end, y + 3), LINE_COST) for (x, y), (end, _) in pairwise([*front, (rim.x1, 0.0)])]
    obstacles += [(text.get_window_extent().extents, LABEL_COST) for text in axes.texts if text not in labels]
    sizes = [(box.width + 6, box.height + 4) for box in (label.get_window_extent() for label in labels)]
    boxes = place_labels(centres, sizes, room=(rim.x0, rim.y0, rim.x1, rim.y1), obstacles=obstacles)
    for label, (left, bottom, right, top), (x, y) in zip(labels, boxes, centres, strict=True):
        label.set_position(((left + right) / 2 - x, (bottom + top) / 2 - y))


def _figure(title: str, heights: Sequence[float], *, height: float, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure of so many inches with a grid of axes, a row for each of the `heights`, which are relative."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": list(heights)})
    figure.suptitle("\n".join(textwrap.wrap(title, 70)), fontweight="bold")
    return figure, [list(row) for row in grid]
