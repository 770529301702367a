"""What the report's plots show, and the digest by which a plot's file is known to show it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from vit_bench.results import Accuracy, ContenderLatency, Kind, Latency, Quantiles, Ratio, Share
from vit_bench.sections import order, timing_of
from vit_runtime.artifact import codec

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
    timing = timing_of(entry, kind)
    return timing.speedup if timing else None


def bars(latency: Latency) -> list[ContenderLatency]:
    """Those that are compared with the reference, the fastest first."""
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
        if (name := entry.contender.name) in scores and (timing := timing_of(entry, "model"))
    ]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats: none is as fast and as accurate and in one of the two better. The fastest first."""
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
