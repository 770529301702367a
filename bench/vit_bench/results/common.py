"""What all kinds of measurement have in common: the machine, contenders, and summaries of samples.

Times are in seconds, sizes in bytes, shares between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass


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
class Run:
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
