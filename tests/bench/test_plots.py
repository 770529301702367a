"""Plots: what they show, what they carry, and that their labels can be read."""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
from dataclasses import replace

import pytest
from PIL import Image

from vit_bench.measure.statistics import share
from vit_bench.report.plots import (
    DIGEST_KEY,
    BarsPlot,
    ParetoPlot,
    Plot,
    Point,
    bars,
    digest,
    draw,
    pareto_front,
    png,
    png_digest,
    points,
)
from vit_runtime.artifact import codec
from vit_runtime.errors import MissingDependencyError

from .made_results import RIGHT, SPEEDS, VIT, accuracy, around, latency


def bars_plot() -> BarsPlot:
    return BarsPlot(device="Mini PC", panels=(latency(), latency(model=VIT, torch_seconds=0.35)))


def pareto(speeds: dict[str, float] = SPEEDS) -> ParetoPlot:
    return ParetoPlot(device="Mini PC", panels=((latency(speeds), accuracy(RIGHT)),))


def point(name: str, seconds: float, right: int) -> Point:
    return Point(name=name, tool="onnx", latency=around(seconds), top1=share(right, 100))


def test_the_front_is_what_nothing_dominates():
    rng = random.Random(0)
    for _ in range(200):
        some = [point(str(i), rng.randint(1, 6) / 100, rng.randint(70, 76)) for i in range(rng.randint(1, 9))]
        values = {p.name: (p.latency.median, p.top1.count) for p in some}

        def dominated(name: str, values: dict[str, tuple[float, int]] = values) -> bool:
            x, y = values[name]
            return any(a <= x and b >= y and (a, b) != (x, y) for a, b in values.values())

        front = pareto_front(some)
        assert {p.name for p in front} == {name for name in values if not dominated(name)}
        assert [p.latency.median for p in front] == sorted(p.latency.median for p in front)


def test_points_are_those_that_have_both_numbers():
    found = points(latency({"torch": 1.0, "onnx": 1.2, "openvino": 2.0}), accuracy({"torch": 395, "onnx": 390}))
    assert [(p.name, p.latency.median, p.top1.count) for p in found] == [
        ("torch", 0.04, 395),
        ("onnx", pytest.approx(0.04 / 1.2), 390),
    ]
    assert points(latency({"torch": 1.0}), accuracy({"onnx": 390}, reference="onnx")) == []


def test_bars_are_all_but_the_reference_the_fastest_first():
    found = bars(latency({"vit-edge fp32": 1.3, "torch": 1.0, "onnx-dynamic": 3.3}))
    assert [entry.contender.name for entry in found] == ["onnx-dynamic", "vit-edge fp32"]
    assert bars(latency({"vit-edge fp32": 1.3}, reference=None)) == []


@pytest.mark.parametrize("plot", [bars_plot(), pareto()], ids=["bars", "pareto"])
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
    moved = latency(SPEEDS, torch_seconds=0.04 * 1.0001)
    assert digest(replace(plot, panels=((moved, accuracy(RIGHT)),))) != digest(plot)


def test_files_that_are_no_plots_have_no_digest(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    assert png_digest(tmp_path / "text.png") is None
    assert png_digest(tmp_path / "plain.png") is None


MANY_OF_OURS = {f"vit-edge {kind}": 1.0 + number for number, kind in enumerate("abcdefgh")} | {"torch": 1.0}


@pytest.mark.parametrize("speeds", [SPEEDS, MANY_OF_OURS], ids=["all", "eight of ours"])
def test_the_legend_names_each_point_by_a_look_of_its_own(speeds: dict[str, float]):
    figure = draw(ParetoPlot(device="Mini PC", panels=((latency(speeds), accuracy(dict.fromkeys(speeds, 395))),)))
    (axes,) = figure.axes
    legend = axes.get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    fastest_first = sorted(speeds, key=lambda name: -speeds[name])
    assert names == [*fastest_first, "Pareto front"]
    drawn = {str(line.get_label()): line for line in axes.get_lines() if line.get_label() in names}
    for name, handle in zip(fastest_first, legend.legend_handles, strict=False):
        assert (handle.get_color(), handle.get_marker()) == (drawn[name].get_color(), drawn[name].get_marker())
        assert drawn[name].get_xdata() == pytest.approx([40 / speeds[name]])  # torch takes 40 ms
        assert drawn[name].get_ydata() == pytest.approx([79.0])
    assert len({(drawn[name].get_color(), drawn[name].get_marker()) for name in speeds}) == len(speeds)


def test_the_legend_is_in_the_picture_beside_the_points():
    figure = draw(pareto())
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend, rim = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert rim.x1 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert legend.y0 >= 0


def test_values_stand_beyond_the_whiskers_of_their_bars():
    figure = draw(bars_plot())
    assert len(figure.axes) == 4
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts][:2] == ["3.92", "3.60"]
    figure.draw_without_rendering()
    end = axes.transData.transform((3.92 * 1.05, 0))[0]
    assert axes.texts[0].get_window_extent().x0 > end
    assert axes.get_xlabel() == "times as fast as torch"


def test_one_contender_and_names_with_dollars_can_be_drawn():
    name = "$\\frac$"
    lonely = (latency({name: 1.0}, model="$a$", reference=None), accuracy({name: 100}, of=100, reference=name))
    assert png(ParetoPlot(device="$_$", panels=(lonely,)))


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingDependencyError, match=r"matplotlib: not installed; run: pip install 'vit-edge\[bench\]'"
    ):
        png(bars_plot())
