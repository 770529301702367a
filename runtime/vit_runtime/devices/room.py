"""Whether there is memory enough for a model file, before the system ends the process without a word."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vit_runtime.devices.machine import memory_to_have
from vit_runtime.errors import ProviderError

_SPARE_BYTES: Final = 30_000_000
"""What it takes besides weights, at the least: the graph, and the numbers of one picture."""


def check_memory(path: Path, times: int, remedy: str) -> None:
    """Refuses to load a model file where memory is certainly too short; says what is needed.

    Args:
        path: the file; weights in a file of their own lie beside it.
        times: how many times its weights are in memory at once, at the least.
        remedy: what to do.

    Raises:
        ProviderError: less than that can be had.
    """
    beside = path.with_name(f"{path.name}.data")
    size = path.stat().st_size + (beside.stat().st_size if os.path.lexists(beside) else 0)
    needed, there = times * size + _SPARE_BYTES, memory_to_have()
    if there is not None and there < needed:
        what = f"needs {needed // 1_000_000:,} MB of memory to load, and {there // 1_000_000:,} MB are free"
        raise ProviderError(path, what, remedy)
