"""What a measuring process is told, and what it tells back: JSON over its standard streams."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from vit_bench.contenders.names import Tool
from vit_runtime.artifact import codec
from vit_runtime.errors import VitEdgeError

PREFIX: Final = "vit-bench: "
"""Stands in front of each of our lines: libraries print what they like on the same stream."""
ANSWERED: Final = "answered"
"""The line that says: the first photo's answer is there."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One contender's work in one process."""

    tool: Tool
    file: str
    """The contender's model: an artifact, weights, or another tool's file."""
    artifact: str
    """What says how pictures are prepared, what the classes are called, and how large the model is."""
    provider: str = "cpu"
    """What an artifact runs on; the other contenders run on the CPU."""
    threads: int = 1
    batch: int = 1
    """Pictures in one run; above 1 the model alone is measured, since photos are answered one by one."""
    photos: tuple[str, ...] = ()
    """The first is answered first."""
    seconds: float = 0.0
    """Seconds to measure each kind of latency for; 0 for none."""
    warm_up_seconds: float = 0.0
    each_photo: bool = False
    """Whether to answer all photos, one line each."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The last line of a process."""

    model_seconds: tuple[float, ...] = ()
    photo_seconds: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    """The first photo's logits, or its embedding where there is no head."""
    peak_bytes: int = 0
    """Peak memory up to the first answer."""
    version: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class PhotoAnswer:
    """The likeliest classes of one photo, best first; none where it cannot be read."""

    classes: tuple[int, ...]
    error: str


def tell(text: str) -> None:
    """Says a line to the process that waits for it."""
    print(f"{PREFIX}{text}", flush=True)  # noqa: T201 - the parent reads this


def tell_document(document: object) -> None:
    """Says a dataclass in a line of JSON."""
    tell(json.dumps(codec.encode(document)))


def work_as_told(kind: type[T], work: Callable[[T], None]) -> None:
    """A process's whole way: reads a `kind` as JSON from its standard input, and ends in one line where work fails."""
    if isinstance(sys.stderr, io.TextIOWrapper):  # Windows would write to a pipe in cp1252
        sys.stderr.reconfigure(encoding="utf-8")
    task = codec.decode(kind, json.load(sys.stdin))
    try:
        work(task)
    except VitEdgeError as error:
        raise SystemExit(f"error: {error}") from None
