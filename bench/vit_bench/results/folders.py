"""What one run of `throughput` writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vit_bench.results.common import Contender, Quantiles, Ratio, Run, Share


@dataclass(frozen=True, kw_only=True)
class ContenderThroughput:
    """What one contender did with a folder of photos."""

    contender: Contender
    reading: str
    """How it gets from files to pixels, and how many pictures it has in the works, in words."""
    passes: int
    """How often it went through the folder; each picture was answered once in each of them, or it would not be here."""
    rate: Quantiles
    """Pictures a second of each pass, from the list of files to the last label."""
    rate_ratio: Ratio | None
    """How many times the reference's pictures a second. None for the reference."""
    photo: Quantiles
    """Seconds from a photo on disk to its labels, one photo after the other."""
    photo_speedup: Ratio | None
    """How many times as fast as the reference: the reference's seconds over these. None for the reference."""
    agreement: Share | None
    """Pictures with the same likeliest class as the reference. None for the reference, and with other weights."""


@dataclass(frozen=True, kw_only=True)
class Throughput(Run):
    """One run of `vit-bench throughput`."""

    reference: str | None
    """Name of the contender that all others are compared with; None where nothing of it was measured."""
    reference_weights: Literal["same", "random"] | None
    """Whether PyTorch ran the artifact's own weights; None without it."""
    threads: int
    """Processor cores that each contender may use."""
    seconds: float
    pictures: int
    """Pictures in the folder that was measured with."""
    photos: str
    """What the photos were: "4000x3000 JPEG, 3.1 MB on average, enlarged"."""
    contenders: tuple[ContenderThroughput, ...]
