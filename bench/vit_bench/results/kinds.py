"""What one run of `latency`, `accuracy`, `footprint` and `limit` writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vit_bench.results.common import Contender, Difference, Quantiles, Ratio, Run, Share

Kind = Literal["model", "photo"]
"""The model alone, from prepared pixels to scores; or photo to answer, from a file on disk to labels."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The latency of one contender, of one kind."""

    kind: Kind
    all_rounds: Quantiles
    rounds: tuple[Quantiles, ...]
    speedup: Ratio | None
    """How many times as fast as the reference: the reference's latency over this one. None for the reference."""


@dataclass(frozen=True, kw_only=True)
class ContenderLatency:
    """All latencies of one contender."""

    contender: Contender
    timings: tuple[Timing, ...]
    """The model alone first; with a batch above 1 nothing else."""
    cosine: float | None
    """Cosine of its scores for the photo and the reference's, which tells whether both do the same work. None without a
    reference."""

    def timing(self, kind: Kind) -> Timing | None:
        """Finds the latency of one kind; None where it was not measured."""
        return next((timing for timing in self.timings if timing.kind == kind), None)


@dataclass(frozen=True, kw_only=True)
class Latency(Run):
    """One run of `vit-bench latency`."""

    reference: str | None
    """Name of the contender that all others are compared with; None where nothing of it was measured."""
    reference_weights: Literal["same", "random"] | None
    """Whether PyTorch and the peers ran the artifact's own weights; None without any of them."""
    batch: int
    threads: int
    seconds: float
    photo: str
    """What the photo was: "1280x960 JPEG, 300 kB"."""
    contenders: tuple[ContenderLatency, ...]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One contender's answers."""

    contender: Contender
    top1: Share
    top5: Share
    agreement: Share | None
    """Pictures with the same likeliest class as the reference; None for the reference."""
    top1_difference: Difference | None
    """This contender's top-1 less the reference's."""


@dataclass(frozen=True, kw_only=True)
class Accuracy(Run):
    """One run of `vit-bench accuracy`."""

    reference: str | None
    pictures: int
    unreadable: int
    labels: str
    """Where the right answers came from."""
    scores: tuple[Score, ...]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one contender costs besides its latency."""

    contender: Contender
    first_answer: Quantiles
    """Seconds from the start of the process to a photo's answer; files are in the system's cache."""
    first_answer_speedup: Ratio | None
    """The reference's time over this one; None for the reference."""
    peak_bytes: Quantiles
    """The largest resident memory of the process that far."""
    peak_ratio: Ratio | None
    """The reference's peak over this one."""
    model_bytes: int
    """The model's files on disk."""
    installed_bytes: int
    """What `pip install` puts on disk for it, all dependencies included, Python itself not."""
    installed_packages: int


@dataclass(frozen=True, kw_only=True)
class Footprints(Run):
    """One run of `vit-bench footprint`."""

    reference: str | None
    threads: int
    contenders: tuple[Footprint, ...]


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix product of the graph, and the engine's own speed at it with nothing around it."""

    layer: str
    """The product's place in a block: "mlp/hidden"."""
    kind: Literal["fp32", "int8"]
    rows: int
    inner: int
    columns: int
    times: int
    """How often the graph computes it."""
    peak: float
    """Operations a second of this shape alone, at its 90th percentile; an addition and a multiplication are two."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Part of a pass, under the engine's profiler."""

    name: str
    seconds: float
    """Seconds in one pass: the mean of the middle half of several, since medians of rows would not add up to a pass."""
    share: float
    """Share of the pass."""
    operations: int
    """Two for each multiplication and addition of a matrix product; 0 where it is none."""
    peak_share: float | None
    """The speed reached, over that of the same products alone; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How far one artifact is from what its engine can do."""

    contender: Contender
    batch: int
    threads: int
    operations: int
    """Operations of the graph's matrix products, attention's included."""
    architecture_operations: int
    """Operations of the architecture as its paper defines it; the graph leaves out what no answer depends on."""
    pass_seconds: float
    """Median latency of the model alone, not profiled."""
    floor_seconds: float
    """The graph's linear layers at the engine's own speed, and nothing else."""
    products: tuple[Product, ...]
    kernels: tuple[Kernel, ...]
    """The longest first."""

    @property
    def linear_share(self) -> float:
        """Time of the linear layers alone, at the engine's own speed, over that of the whole pass."""
        return self.floor_seconds / self.pass_seconds


@dataclass(frozen=True, kw_only=True)
class Limits(Run):
    """One run of `vit-bench limit`."""

    artifacts: tuple[Limit, ...]
