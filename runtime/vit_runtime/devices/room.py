"""Whether there is memory for a model or for pictures, before the system ends the process without a word."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vit_runtime.artifact import Precision
from vit_runtime.devices.machine import memory_to_have
from vit_runtime.errors import ProviderError

_SPARE_BYTES: Final = 25_000_000
"""What it takes besides weights, at the least: the graph, and the numbers of one picture."""
_TIMES_TO_LOAD: Final[dict[Precision, float]] = {"fp32": 1.02, "fp16": 1.02, "int8": 1.45}
"""How many times its weights a file takes while onnxruntime packs them: tried with real limits (docs/log.md)."""
_TIMES_TO_PREPARE: Final = 1.95
_WORKER_BYTES: Final = 120_000_000
"""What a worker takes for a photo of 24 megapixels, of which Pillow holds a pixel in four bytes (docs/log.md)."""


def check_memory_to_load(path: Path, precision: Precision) -> None:
    """Refuses to load a model file where memory is certainly too short; says what is needed.

    Args:
        path: the file; weights in a file of their own lie beside it.
        precision: of the graph.

    Raises:
        ProviderError: less than that can be had.
    """
    _check(path, "load", _TIMES_TO_LOAD[precision], "close other programs, add swap, or export it in int8")


def check_memory_to_prepare(path: Path) -> None:
    """Refuses to make a prepared copy where memory is certainly too short; says what is needed.

    Raises:
        ProviderError: less than that can be had.
    """
    _check(path, "prepare", _TIMES_TO_PREPARE, "close other programs, or add swap for this time")


def workers_with_room(wanted: int) -> int:
    """How many of the workers that are wanted have memory for a camera's photo each; at least 1."""
    there = memory_to_have()
    return wanted if there is None else max(1, min(wanted, there // _WORKER_BYTES))


def _check(path: Path, action: str, times: float, remedy: str) -> None:
    beside = path.with_name(f"{path.name}.data")
    size = path.stat().st_size + (beside.stat().st_size if os.path.lexists(beside) else 0)
    needed, there = int(times * size) + _SPARE_BYTES, memory_to_have()
    if there is not None and there < needed:
        what = f"needs {needed // 1_000_000:,} MB of memory to {action}, and {there // 1_000_000:,} MB are free"
        raise ProviderError(path, what, remedy)
