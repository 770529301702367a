"""Gathers pictures that other threads have read into batches, and computes them in a thread of its own.

An accelerator is fast with many pictures in one run. A batch runs when it is full, when nothing more is on its way, or
when its first picture has waited long enough.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from vit_runtime.arrays import FloatArray, UInt8Array

Compute: TypeAlias = Callable[[UInt8Array, Any], Sequence[Any] | FloatArray]
"""A function from pixels, uint8 (N, H, W, 3), and from what is wanted of them, to N rows, one for each picture."""
Deliver: TypeAlias = Callable[[Any], None]
"""Takes a picture's row, or the exception that the run raised."""

_LONGEST_WAIT: Final = 0.1
"""Seconds that a picture waits for others."""


class _Waiting(NamedTuple):
    """A picture that waits for a run."""

    pixels: UInt8Array
    wanted: Hashable
    deliver: Deliver


class Batches:
    """A thread that computes pictures in batches."""

    def __init__(self, compute: Compute, size: int, more_to_come: Callable[[], bool]) -> None:
        """Starts the thread.

        Args:
            compute: runs the model.
            size: most pictures in a run.
            more_to_come: whether pictures are being read that have not been added yet.
        """
        self._compute = compute
        self._size = size
        self._more_to_come = more_to_come
        self._closed = False
        self._pictures: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="vit-edge batches", daemon=True)
        self._thread.start()

    def add(self, pixels: UInt8Array, wanted: Hashable, deliver: Deliver) -> None:
        """Adds a picture, uint8 (H, W, 3); those that want the same share a run."""
        self._pictures.put(_Waiting(pixels, wanted, deliver))

    def close(self) -> None:
        """Ends the thread, after the batch that runs; pictures that still wait are not computed."""
        self._closed = True
        self._pictures.put(None)
        if self._thread is not threading.current_thread():  # Python collects garbage in any thread
            self._thread.join()

    def _work(self) -> None:
        while (first := self._pictures.get()) is not None:
            batch, is_last = self._gather(first)
            if not self._closed:
                self._answer(batch)
            if is_last:
                return
            del first, batch

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Takes pictures until there are enough; says, too, whether the thread is to end afterwards."""
        batch, latest = [first], time.monotonic() + _LONGEST_WAIT
        while len(batch) < self._size:
            # Asked before looking: a picture that is added in between is found.
            patient = self._more_to_come() and time.monotonic() < latest
            try:
                following = self._pictures.get(timeout=0.001) if patient else self._pictures.get_nowait()
            except queue.Empty:
                if patient:
                    continue
                break
            if following is None:
                return batch, True
            batch.append(following)
        return batch, False

    def _answer(self, batch: list[_Waiting]) -> None:
        by_wanted: dict[Hashable, list[_Waiting]] = {}
        for picture in batch:
            by_wanted.setdefault(picture.wanted, []).append(picture)
        for wanted, pictures in by_wanted.items():
            self._run(pictures, wanted)

    def _run(self, pictures: list[_Waiting], wanted: Hashable) -> None:
        try:
            rows = self._compute(np.stack([picture.pixels for picture in pictures]), wanted)
        except BaseException as error:  # raised again where the answers are asked for
            for picture in pictures:
                picture.deliver(error)
        else:
            for picture, row in zip(pictures, rows, strict=True):
                picture.deliver(row)
