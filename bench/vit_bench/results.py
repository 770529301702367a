"""What a run of `vit-bench` writes: one JSON document, written and read through these dataclasses.

Times are in seconds, sizes in bytes, shares between 0 and 1. A document holds one list for each kind of measurement;
most have one entry in one of them. `vit-bench report` puts any number of documents side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

RESULTS_VERSION: Final = 2
Kind = Literal["model", "photo"]
"""The model alone, from prepared pixels to scores; or photo to answer, from a file on disk to labels."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """An installed package that takes part."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """What else the machine did while it was measured, as shares of all its processor time."""

    others: float
    """Other programs on this system."""
    stolen: float
    """Other virtual machines: what the hypervisor gave to them while this one wanted to run."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The machine, and what was installed on it."""

    device: str
    """What people call it: `--device`, or the board's or processor's own name."""
    processor: str
    instruction_sets: tuple[str, ...]
    """Instruction sets that matrix products can use, by the names of Linux: avx2, avx512_vnni, asimddp, ..."""
    cores: int
    """Physical performance cores open to this process."""
    processors: int
    """Hardware threads open to this process."""
    memory_bytes: int | None
    system: str
    python: str
    packages: tuple[Package, ...]
    governor: str | None
    """The processor's frequency governor; None where it cannot be read."""
    load: Load | None
    """What else ran meanwhile; None where the system does not tell."""
    date: str
    """Start of the run: UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Who was measured, on what."""

    name: str
    """Unique in its run, the same in every run: "vit-edge int8 static", "torch", "openvino-int8"."""
    tool: str
    """Which contender it is: "vit-edge", "torch", "torch-compile", ..."""
    model: str
    precision: str
    provider: str
    """What it ran on: "cpu", "cuda", ...; part of the name where it is not the CPU."""
    version: str
    """The engine that computed it, with its version: "onnxruntime 1.32.0"."""
    detail: str
    """What else decides its speed, in words; empty where there is nothing to say."""


@dataclass(frozen=True, kw_only=True)
class Absent:
    """A contender without results."""

    name: str
    reason: str
    """One line; how to get it where it is not installed."""
    crashed: bool
    """Whether it had begun and failed; else it is not installed, or cannot be made here."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What every kind of measurement says."""

    model: str
    absent: tuple[Absent, ...]
    warnings: tuple[str, ...]
    interrupted: bool
    """Whether the user ended it before its time."""


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """A summary of samples."""

    samples: int
    median: float
    p10: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio, pair by pair, and the interval in which the same run's next repetition should find it."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 1 out."""
        return not self.low <= 1.0 <= self.high


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
class Latency(_Run):
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
class Share:
    """A count out of a total, with a 95 % interval of the share (Wilson 1927)."""

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two shares on the same pictures, with a 95 % interval (Bonett and Price 2012)."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.low <= 0.0 <= self.high


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
class Accuracy(_Run):
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
class Footprints(_Run):
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
class Limits(_Run):
    """One run of `vit-bench limit`."""

    artifacts: tuple[Limit, ...]


Section: TypeAlias = Latency | Accuracy | Footprints | Limits
Entry: TypeAlias = ContenderLatency | Score | Footprint | Limit


@dataclass(frozen=True, kw_only=True)
class Results:
    """The whole document."""

    format_version: int
    vit_edge: str
    card: Card
    latency: tuple[Latency, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    footprint: tuple[Footprints, ...] = ()
    limit: tuple[Limits, ...] = ()
    warnings: tuple[str, ...] = ()
    """What speaks against all of these numbers."""

    @property
    def sections(self) -> tuple[Section, ...]:
        """All, in the order of a report."""
        return (*self.latency, *self.accuracy, *self.footprint, *self.limit)
