"""What a measuring process is told, and what it tells back: JSON over its standard streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Tool = Literal[
    "vit-edge",
    "torch",
    "torch-compile",
    "torch-bf16",
    "onnx",
    "onnx-dynamic",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
]
"""Every contender; all but the first are what users would take instead."""

PREFIX: Final = "vit-bench: "
"""In front of each of our lines: libraries print what they like on the same stream."""
ANSWERED: Final = "answered"
"""The line that says: the first photo's answer is there."""


def tell(text: str) -> None:
    """Says a line to the process that waits for it."""
    print(f"{PREFIX}{text}", flush=True)  # noqa: T201 - the parent reads this


@dataclass(frozen=True, kw_only=True)
class Task:
    """One contender's work in one process."""

    tool: Tool
    file: str
    """Its model: an artifact, weights, or another tool's file."""
    artifact: str
    """What says how pictures are prepared, what the classes are called, and how large the model is."""
    provider: str
    """Of an artifact; the other contenders run on the CPU."""
    threads: int
    batch: int
    """Above 1 the model alone is measured: photos are answered one by one."""
    photos: tuple[str, ...]
    """The first is answered first."""
    seconds: float
    """To measure each kind of latency for; 0 for none."""
    warm_up_seconds: float
    each_photo: bool
    """Whether to answer all photos, one line each."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The last line of a process."""

    model_seconds: tuple[float, ...]
    photo_seconds: tuple[float, ...]
    scores: tuple[float, ...]
    """Of the first photo: logits, or the embedding where there is no head."""
    peak_bytes: int
    """Up to the first answer."""
    version: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class PhotoAnswer:
    """The likeliest classes of one photo, best first; none where it cannot be read."""

    classes: tuple[int, ...]
    error: str
