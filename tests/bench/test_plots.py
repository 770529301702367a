"""Plots: what they show, what they carry, and that their labels can be read."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
import sys
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from PIL import Image

from vit_bench.plot_data import (
    DIGEST_KEY,
    BarsPlot,
    ParetoPanel,
    ParetoPlot,
    Plot,
    Point,
    bar_panel,
    digest,
    pareto_front,
    pareto_panel,
    png_digest,
)
from vit_bench.plots import draw, png
from vit_bench.statistics import share
from vit_runtime.artifact import codec
from vit_runtime.errors import MissingDependencyError

from .made_results import RIGHT, SPEEDS, VIT, accuracy, around, latency

CLOSE = {
    "vit-edge fp32": 1.30,
    "onnx": 1.31,
    "openvino": 1.32,
    "torch-compile": 1.29,
    "torch": 1.0,
    "vit-edge int8 static": 4.4,
    "vit-edge int8 dynamic": 3.9,
    "openvino-int8": 4.3,
}
"""Four nearly on top of each other."""


def bars() -> BarsPlot:
    panels = (bar_panel(latency()), bar_panel(latency(model=VIT, torch_seconds=0.35)))
    return BarsPlot(device="Mini PC", panels=tuple(panel for panel in panels if panel))


def pareto(speeds: dict[str, float] = SPEEDS) -> ParetoPlot:
    panel = pareto_panel(latency(speeds), accuracy(RIGHT))
    assert panel is not None
    return ParetoPlot(device="Mini PC", panels=(panel,))


def point(name: str, seconds: float, right: int) -> Point:
    return Point(name=name, tool="onnx", latency=around(seconds), top1=share(right, 100))


def test_the_front_is_what_nothing_dominates():
    rng = random.Random(0)
    for _ in range(200):
        points = [point(str(i), rng.randint(1, 6) / 100, rng.randint(70, 76)) for i in range(rng.randint(1, 9))]
        values = {p.name: (p.latency.median, p.top1.count) for p in points}

        def dominated(name: str, values: dict[str, tuple[float, int]] = values) -> bool:
            x, y = values[name]
            return any(a <= x and b >= y and (a, b) != (x, y) for a, b in values.values())

        front = pareto_front(points)
        assert {p.name for p in front} == {name for name in values if not dominated(name)}
        assert [p.latency.median for p in front] == sorted(p.latency.median for p in front)


def test_points_are_those_that_have_both_numbers():
    panel = pareto_panel(latency({"torch": 1.0, "onnx": 1.2, "openvino": 2.0}), accuracy({"torch": 395, "onnx": 390}))
    assert panel is not None
    assert [(p.name, p.latency.median, p.top1.count) for p in panel.points] == [
        ("torch", 0.04, 395),
        ("onnx", pytest.approx(0.04 / 1.2), 390),
    ]
    assert pareto_panel(latency({"torch": 1.0}), accuracy({"onnx": 390}, reference="onnx")) is None


def test_bars_are_all_but_the_reference_the_fastest_first():
    panel = bar_panel(latency({"vit-edge fp32": 1.3, "torch": 1.0, "onnx-dynamic": 3.3}))
    assert panel is not None
    assert [bar.name for bar in panel.bars] == ["onnx-dynamic", "vit-edge fp32"]
    assert bar_panel(latency({"vit-edge fp32": 1.3}, reference=None)) is None


@pytest.mark.parametrize("plot", [bars(), pareto()], ids=["bars", "pareto"])
def test_a_png_carries_the_digest_of_what_it_shows_and_nothing_that_changes(plot: Plot, tmp_path):
    drawn = png(plot)
    assert drawn == png(plot)
    image = Image.open(io.BytesIO(drawn))
    image.load()
    assert (image.format, image.width) == ("PNG", 1200)
    document = json.dumps([type(plot).__name__, codec.encode(plot)], sort_keys=True, separators=(",", ":"))
    assert image.info[DIGEST_KEY] == digest(plot) == hashlib.sha256(document.encode()).hexdigest()
    assert set(image.info) <= {DIGEST_KEY, "dpi"}
    (tmp_path / "plot.png").write_bytes(drawn)
    assert png_digest(tmp_path / "plot.png") == digest(plot)


def test_another_number_is_another_digest():
    plot = pareto()
    first, *rest = plot.panels[0].points
    moved = replace(first, latency=replace(first.latency, median=first.latency.median * 1.0001))
    assert digest(replace(plot, panels=(replace(plot.panels[0], points=(moved, *rest)),))) != digest(plot)


def test_files_that_are_no_plots_have_no_digest(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    assert png_digest(tmp_path / "text.png") is None
    assert png_digest(tmp_path / "plain.png") is None
    with pytest.raises(FileNotFoundError):
        png_digest(tmp_path / "none.png")


@pytest.mark.parametrize("speeds", [SPEEDS, CLOSE], ids=["all", "four nearly on top of each other"])
def test_labels_of_points_do_not_overlap_and_stay_inside(speeds: dict[str, float]):
    figure = draw(pareto(speeds))
    (axes,) = figure.axes
    labels = [text for text in axes.texts if text.get_text()]
    assert {label.get_text() for label in labels} == {*speeds, "Pareto front"}
    boxes = [text.get_window_extent() for text in labels]
    # An annotation's extent counts its line too; the words alone are what should not overlap.
    for one, other in itertools.combinations([_words(figure, text) for text in labels], 2):
        assert not _overlap(one, other)
    rim = axes.get_window_extent()
    assert all(box.x0 >= rim.x0 - 1 and box.x1 <= rim.x1 + 1 for box in boxes)


def test_values_stand_beyond_the_whiskers_of_their_bars():
    figure = draw(bars())
    assert len(figure.axes) == 4
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts][:2] == ["3.92", "3.60"]
    figure.draw_without_rendering()
    end = axes.transData.transform((3.92 * 1.05, 0))[0]
    assert axes.texts[0].get_window_extent().x0 > end
    assert axes.get_xlabel() == "times as fast as torch"


def test_one_contender_and_names_with_dollars_can_be_drawn():
    lonely = ParetoPanel(model="$a$", threads=1, pictures=100, points=(point("$\\frac$", 0.01, 100),))
    assert png(ParetoPlot(device="$_$", panels=(lonely,)))


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingDependencyError, match=r"matplotlib: not installed; run: pip install 'vit-edge\[bench\]'"
    ):
        png(bars())


def _words(figure: Figure, text) -> tuple[float, float, float, float]:
    from matplotlib.text import Text

    box = Text.get_window_extent(text)
    assert figure.dpi == 150
    return box.x0, box.y0, box.x1, box.y1


def _overlap(one, other) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
