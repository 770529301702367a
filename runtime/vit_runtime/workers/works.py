"""The threads that read pictures and compute them, and leave one behind where a picture hangs.

On a processor each worker reads a picture and computes it by itself: with one thread a run that is faster than batches
(docs/log.md). For an accelerator workers read, and one thread computes what they have read in batches.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from vit_runtime.arrays import UInt8Array
from vit_runtime.errors import ImageError
from vit_runtime.pictures.large import worker
from vit_runtime.pictures.limits import spelled
from vit_runtime.workers.batches import Batches, Compute
from vit_runtime.workers.frames import let_go
from vit_runtime.workers.pool import Pool, Task

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

LOOK_AGAIN: Final = 0.25
"""Seconds between looks at a picture that is waited for."""
_MOST_LEFT_BEHIND: Final = 16
"""Pictures that may hang at a time before the whole job counts as hanging."""
_MORE_SECONDS: Final = 1.0
"""Seconds beyond the limit before a thread is left behind: what reads pictures gives up by itself where it can."""
_SECONDS_TO_RETURN: Final = 1.0
"""How long the end waits for a picture that is being read, and that nobody wants any more."""


@dataclass(frozen=True, eq=False)
class Prepared(Generic[_Result]):
    """A picture that was read, and what to make of its row."""

    pixels: UInt8Array
    """uint8 RGB (H, W, 3)."""
    finish: Callable[[Any], _Result]
    """Makes the answer of what `compute` gave for the picture, for example an output's row; called in a worker."""
    wanted: Hashable = None
    """What `compute` is to give, where that differs: pictures that want the same share a run."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many pictures are worked on at a time."""

    workers: int
    """Threads that read pictures, and compute them where `batch_size` is 1."""
    batch_size: int = 1
    """Most pictures in a run."""
    ahead: int | None = None
    """Most pictures that are read before their answers are taken; None for as many as keep the workers busy."""
    seconds: float | None = None
    """How long reading one picture may take."""
    size: Callable[[Any], int] = field(default=lambda _: 0)
    """How many bytes an item holds in memory."""

    @property
    def window(self) -> int:
        """Most items that are in the works, or done and not taken."""
        if self.ahead is not None:
            return self.ahead
        return 4 * self.workers if self.batch_size == 1 else self.workers + 2 * self.batch_size


class Works(Generic[_Item, _Result]):
    """Threads that read pictures and compute them, whoever brings them: a stream, or a service's requests."""

    def __init__(self, read: Callable[[_Item], Prepared[_Result]], compute: Compute, plan: Plan) -> None:
        """Starts the threads.

        Args:
            read: reads and prepares an item, in a worker.
            compute: runs the model.
            plan: how many at a time.
        """
        self._read, self._compute, self._plan = read, compute, plan
        self._pool = Pool(plan.workers)
        self._lock = threading.Lock()
        self._unread = 0  # pictures on their way into a batch
        self._batches = Batches(compute, plan.batch_size, lambda: self._unread > 0) if plan.batch_size > 1 else None
        _OPEN.add(self)

    def begin(self, item: _Item, when_done: Callable[[], None] | None = None) -> Task[_Result | ImageError]:
        """Puts an item behind the others; `when_done` is called in a worker once there is an answer."""
        task: Task[_Result | ImageError] = Task(lambda task: self._work(item, task), when_done)
        self._count(1)
        self._pool.submit(task)
        return task

    def is_ready(self, task: Task[_Result | ImageError]) -> bool:
        """Whether `result_of` need not wait."""
        return task.is_done or self.hangs(task)

    def result_of(self, task: Task[_Result | ImageError], name: str) -> _Result | ImageError:
        """Waits for an item's answer; where reading hangs, leaves its thread behind and gives an error.

        Raises:
            ImageError: too many pictures hang.
        """
        while not task.wait(LOOK_AGAIN):
            if self.hangs(task):
                return self.give_up(task, name)
        return task.result()

    def close(self) -> None:
        """Ends the threads, but for those that read and do not come back; a second call does nothing."""
        self._pool.close(_SECONDS_TO_RETURN)
        if self._batches is not None:
            self._batches.close()
        _OPEN.discard(self)  # only now: another Ctrl-C may come in between

    def hangs(self, task: Task[_Result | ImageError]) -> bool:
        """Whether reading an item has taken longer than it may."""
        limit = self._plan.seconds
        return limit is not None and task.seconds_timed() >= limit + _MORE_SECONDS

    def give_up(self, task: Task[_Result | ImageError], name: str) -> ImageError:
        """Leaves the thread of an item that hangs behind, and gives the error that stands for its answer.

        Raises:
            ImageError: too many pictures hang.
        """
        self._pool.give_up(task)
        if task.stop_timing():
            self._count(-1)
        what, hanging = f"takes longer to read than {self._plan.seconds:g} s", self._pool.left_behind
        if hanging >= _MOST_LEFT_BEHIND:
            what += f", as {hanging - 1} others do; no more pictures are read"
            raise ImageError(name, what, "see whether the disk or network that they are on answers")
        return ImageError(name, what, f"copy it elsewhere, or raise {spelled('seconds')}")

    def _work(self, item: _Item, task: Task[_Result | ImageError]) -> None:
        task.start_timing()
        try:
            with worker(_Clock(task, self._pool)):
                prepared = self._read(item)
        except BaseException as error:
            if task.stop_timing():
                self._count(-1)
            if not isinstance(error, ImageError):
                raise
            let_go(error)
            task.finish(error)
            return
        if not task.stop_timing() or self._pool.is_closed:
            return  # it was given up, or nobody waits: computing now could go on while Python ends
        if self._batches is None:
            task.finish(prepared.finish(self._compute(prepared.pixels[None], prepared.wanted)[0]))
        else:
            self._batches.add(prepared.pixels, prepared.wanted, _delivery(task, prepared.finish))
            self._count(-1)  # after it was added, so that a batch does not run without it

    def _count(self, change: int) -> None:
        with self._lock:
            self._unread += change


@dataclass(frozen=True, eq=False)
class _Clock:
    """The time of a task, for `pictures.large`."""

    task: Task[Any]
    pool: Pool

    def pause(self) -> None:
        self.task.pause_timing()

    def resume(self) -> None:
        self.task.resume_timing()

    def is_over(self) -> bool:
        return self.pool.is_closed


_OPEN: Final[weakref.WeakSet[Works[Any, Any]]] = weakref.WeakSet()
"""Works whose threads have not been ended: a stream that was left in the middle, and is held by a traceback."""


@atexit.register
def _close_all() -> None:
    """Ends all threads before Python goes: a library whose threads are still computing then ends in a crash."""
    for works in list(_OPEN):
        works.close()


def _delivery(task: Task[Any], finish: Callable[[Any], _Result]) -> Callable[[Any], None]:
    def deliver(found: Any) -> None:
        if isinstance(found, BaseException):
            task.fail(found)
            return
        try:
            task.finish(finish(found))
        except BaseException as error:  # raised again where the answer is asked for
            task.fail(error)

    return deliver
