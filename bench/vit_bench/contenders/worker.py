"""One contender in a process of its own: a first answer, then latencies, or the answers for many photos.

Run as `python -m vit_bench.contenders.worker`, with a `Task` as JSON on its standard input. It prints `ANSWERED` when
the first answer is there, a `PhotoAnswer` for each photo if asked to, and at the end what it `Measured`.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np

from vit_bench.contenders.engine import TOP, Engine
from vit_bench.contenders.task import ANSWERED, Measured, PhotoAnswer, Task, tell, tell_document, work_as_told
from vit_runtime.devices.memory import return_large_blocks_at_once, reuse_large_blocks
from vit_runtime.errors import ImageError, VitEdgeError

_FEWEST_RUNS: Final = 3
_STATUS: Final = Path("/proc/self/status")


class _Family(Protocol):
    """A module of contenders."""

    def load(self, task: Task) -> Engine:
        """Loads a task's contender."""


_FAMILIES: Final = {
    "vit": "vit_edge",
    "torch": "pytorch",
    "onnx": "onnx_runtime",
    "openvino": "open_vino",
    "mnn": "mnn",
    "ncnn": "ncnn",
    "executorch": "executorch",
}
"""Modules here by the first word of a tool's name; each imports an engine, so only the one that is needed is."""


def _load(task: Task) -> Engine:
    """Loads a task's contender, with memory as `vit-run` handles it, whoever it is."""
    family = cast("_Family", import_module(f"vit_bench.contenders.{_FAMILIES[task.tool.partition('-')[0]]}"))
    return_large_blocks_at_once()
    engine = family.load(task)
    reuse_large_blocks()
    return engine


def _measure(task: Task) -> None:
    engine = _load(task)
    if task.each_photo:
        for photo in task.photos:
            tell_document(_answer(engine, Path(photo)))
        tell_document(Measured(version=engine.version, detail=engine.detail))
        return
    first = Path(task.photos[0])
    alone = task.batch > 1  # a traced graph has its batch built in: it cannot answer for one photo
    if alone:
        engine.prepared(first, task.batch)()
    else:
        engine.answer(first)
    tell(ANSWERED)
    peak = peak_bytes()
    run = engine.prepared(first, task.batch)
    scores = tuple(map(float, run()[0]))
    model_seconds: tuple[float, ...] = ()
    photo_seconds: tuple[float, ...] = ()
    if task.seconds:
        _repeat(run, task.warm_up_seconds)
        model_seconds = _repeat(run, task.seconds)
        photo_seconds = () if alone else _repeat(lambda: engine.answer(first), task.seconds)
    tell_document(
        Measured(
            model_seconds=model_seconds,
            photo_seconds=photo_seconds,
            scores=scores,
            peak_bytes=peak,
            version=engine.version,
            detail=engine.detail,
        )
    )


def _repeat(run: Callable[[], object], seconds: float) -> tuple[float, ...]:
    """Runs for so long, at least three times; the seconds of each run."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < _FEWEST_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return tuple(taken)


def _answer(engine: Engine, photo: Path) -> PhotoAnswer:
    try:
        scores = engine.prepared(photo, 1)()[0]
    except ImageError as error:
        return PhotoAnswer(classes=(), error=str(error))
    # Ties go to the lower index, in every contender alike.
    return PhotoAnswer(classes=tuple(map(int, np.argsort(-scores, kind="stable")[:TOP])), error="")


def peak_bytes(status: Path = _STATUS) -> int:
    """The largest resident memory of this process so far.

    From /proc/self/status (Linux), GetProcessMemoryInfo's PeakWorkingSetSize (Windows), else `getrusage`, which on
    Linux would count the parent's before exec as well. See proc(5), getrusage(2).

    Raises:
        VitEdgeError: Windows does not tell.
    """
    try:
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return _peak_working_set(ctypes.WinDLL("kernel32"))
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024  # bytes on macOS, kilobytes elsewhere


class _MemoryCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of Windows' psapi.h."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("seven_more", ctypes.c_size_t * 7),
    )


def _peak_working_set(kernel: Any) -> int:
    """Asks the kernel under the name that it gives GetProcessMemoryInfo since Windows 7."""
    current, read = kernel.GetCurrentProcess, kernel.K32GetProcessMemoryInfo
    current.restype, current.argtypes = ctypes.c_void_p, ()
    read.restype = ctypes.c_int
    read.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MemoryCounters), ctypes.c_uint32)
    counters = _MemoryCounters(cb=ctypes.sizeof(_MemoryCounters))
    if not read(current(), ctypes.byref(counters), counters.cb):
        raise VitEdgeError("peak memory", "Windows does not tell it")
    return int(counters.PeakWorkingSetSize)


if __name__ == "__main__":
    work_as_told(Task, _measure)
