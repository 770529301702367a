"""What the report's plots show, and the digest by which a plot's file is known to show it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, get_args

from vit_bench.results import Accuracy, Kind, Latency, Quantiles, Ratio, Share
from vit_bench.sections import order, timing_of
from vit_runtime.artifact import codec

DIGEST_KEY: Final = "vit-bench"
"""Name of the PNG's text chunk that holds the digest."""
OWN: Final = "vit-edge"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How many times as fast as the reference one contender is."""

    name: str
    tool: str
    model: Ratio | None
    photo: Ratio | None


@dataclass(frozen=True, kw_only=True)
class BarPanel:
    """One model's contenders but the reference, the fastest first."""

    model: str
    reference: str
    threads: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class BarsPlot:
    """One device against its reference."""

    device: str
    panels: tuple[BarPanel, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One contender's latency, model alone, at batch 1 in seconds, and its accuracy."""

    name: str
    tool: str
    latency: Quantiles
    top1: Share


@dataclass(frozen=True, kw_only=True)
class ParetoPanel:
    """One model's contenders."""

    model: str
    threads: int
    pictures: int
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class ParetoPlot:
    """Latency against accuracy on one device."""

    device: str
    panels: tuple[ParetoPanel, ...]


Plot: TypeAlias = "BarsPlot | ParetoPlot"


def bar_panel(latency: Latency) -> BarPanel | None:
    """The bars of one table of latencies; None where there is nothing to compare."""
    bars = []
    for entry in sorted(latency.contenders, key=order):
        model, photo = (timing.speedup if (timing := timing_of(entry, kind)) else None for kind in get_args(Kind))
        if (model or photo) and entry.contender.name != latency.reference:
            bars.append(Bar(name=entry.contender.name, tool=entry.contender.tool, model=model, photo=photo))
    if latency.reference is None or not bars:
        return None
    bars.sort(key=lambda bar: -(bar.model or bar.photo or _NO_RATIO).value)
    return BarPanel(model=latency.model, reference=latency.reference, threads=latency.threads, bars=tuple(bars))


_NO_RATIO: Final = Ratio(value=0.0, low=0.0, high=0.0, pairs=0)


def pareto_panel(latency: Latency, accuracy: Accuracy) -> ParetoPanel | None:
    """The contenders of a model that both were measured of; None where there is none."""
    scores = {score.contender.name: score for score in accuracy.scores}
    points = tuple(
        Point(name=name, tool=entry.contender.tool, latency=timing.all_rounds, top1=scores[name].top1)
        for entry in sorted(latency.contenders, key=order)
        if (name := entry.contender.name) in scores and (timing := timing_of(entry, "model"))
    )
    if not points:
        return None
    return ParetoPanel(model=latency.model, threads=latency.threads, pictures=accuracy.pictures, points=points)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats: none is as fast and as accurate and in one of the two better. The fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency.median, -accuracy_of(point))):
        best = front[-1] if front else None
        as_good = best and (point.latency.median, accuracy_of(point)) == (best.latency.median, accuracy_of(best))
        if best is None or as_good or accuracy_of(point) > accuracy_of(best):
            front.append(point)
    return front


def accuracy_of(point: Point) -> float:
    """Top-1 as a share of 1."""
    return point.top1.count / point.top1.of


def digest(plot: Plot) -> str:
    """SHA-256 of what a plot shows, as canonical JSON."""
    text = json.dumps([type(plot).__name__, codec.encode(plot)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def png_digest(path: Path) -> str | None:
    """The digest that a plot's file carries; None where it has none or is no picture.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            found = image.info.get(DIGEST_KEY)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError):
        return None
    return found if isinstance(found, str) else None
