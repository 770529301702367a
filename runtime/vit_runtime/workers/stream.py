"""Answers any number of pictures, many at a time: for each item, in order, an answer, or the error that it gave.

On a processor each worker reads a picture and computes it by itself: with one thread a run that is faster than batches
(docs/log.md). For an accelerator workers read, and one thread computes what they have read in batches. `ViT`, the
commands and the Ray predictor all come through here.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.errors import ImageError
from vit_runtime.pictures.large import worker
from vit_runtime.pictures.limits import spelled
from vit_runtime.waiting import WAITING, Waiting
from vit_runtime.workers.batches import Batches, Compute
from vit_runtime.workers.frames import let_go
from vit_runtime.workers.pool import Pool, Task

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_MOST_LEFT_BEHIND: Final = 16
"""Pictures that may hang at a time before the whole job counts as hanging."""
_LOOK_AGAIN: Final = 0.25
"""Seconds between looks at a picture that is waited for."""
_MORE_SECONDS: Final = 1.0
"""Seconds beyond the limit before a thread is left behind: what reads pictures gives up by itself where it can."""
_SECONDS_TO_RETURN: Final = 1.0
"""How long the end waits for a picture that is being read, and that nobody wants any more."""
_MOST_BYTES: Final = 256 << 20
"""Of encoded pictures that are held in memory at a time; a larger one is held alone."""


@dataclass(frozen=True, eq=False)
class Prepared(Generic[_Result]):
    """A picture that was read, and what to make of its row."""

    pixels: UInt8Array
    """uint8 RGB (H, W, 3)."""
    finish: Callable[[FloatArray], _Result]
    """Makes the answer of the output's row; called in a worker."""


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


def stream(
    items: Iterable[_Item | Waiting],
    read: Callable[[_Item], Prepared[_Result]],
    compute: Compute,
    plan: Plan,
    name: Callable[[_Item], str],
) -> Generator[_Result | ImageError, None, None]:
    """Gives each item's answer, in order, or the `ImageError` in its place.

    Items are taken in the caller's thread, and no more than `plan.window` of them before their answers are taken. An
    exception that `items` raises comes behind the answers of the items in front of it. Any other exception than an
    `ImageError` comes in the place of its item, and ends the answers. Where too many pictures hang, the last one's
    `ImageError` is raised.

    Args:
        items: what is to be answered; `WAITING` hands out the answers that are done.
        read: reads and prepares an item, in a worker.
        compute: runs the model on pixels (N, H, W, 3); N is from 1 to `plan.batch_size`.
        plan: how many at a time.
        name: what to call an item that hangs.
    """
    works = _Works(read, compute, plan)
    tasks: deque[_Begun[_Result]] = deque()
    iterator, failure, window, held = iter(items), None, plan.window, 0
    try:
        while failure is None:
            try:
                item = next(iterator)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            if item is not WAITING:
                tasks.append(_Begun(name(item), plan.size(item), works.begin(item)))
                held += tasks[-1].size
            del item
            while tasks and (len(tasks) >= window or held >= _MOST_BYTES or works.is_ready(tasks[0].task)):
                held -= tasks[0].size
                yield works.result_of(tasks.popleft())
        while tasks:
            yield works.result_of(tasks.popleft())
    finally:
        works.close()
    if failure is not None:
        raise failure


def answer_one(
    items: Iterable[_Item | Waiting], read: Callable[[_Item], Prepared[_Result]], compute: Compute
) -> Generator[_Result | ImageError, None, None]:
    """Gives the answer of one item after the other, without threads; for a single picture."""
    for item in items:
        if item is WAITING:
            continue
        try:
            prepared = read(item)
        except ImageError as error:
            let_go(error)
            yield error
        else:
            answer = prepared.finish(compute(prepared.pixels[None])[0])
            del prepared  # it may hold a decoded photo, and the next picture can take a while
            yield answer
            del answer


@dataclass(frozen=True, eq=False)
class _Begun(Generic[_Result]):
    """An item in the works."""

    name: str
    size: int
    task: Task[_Result | ImageError]


class _Works(Generic[_Item, _Result]):
    """The threads of one stream."""

    def __init__(self, read: Callable[[_Item], Prepared[_Result]], compute: Compute, plan: Plan) -> None:
        self._read, self._compute, self._plan = read, compute, plan
        self._pool = Pool(plan.workers)
        self._lock = threading.Lock()
        self._unread = 0  # pictures on their way into a batch
        self._batches = Batches(compute, plan.batch_size, lambda: self._unread > 0) if plan.batch_size > 1 else None
        _OPEN.add(self)

    def begin(self, item: _Item) -> Task[_Result | ImageError]:
        task: Task[_Result | ImageError] = Task(lambda task: self._work(item, task))
        self._count(1)
        self._pool.submit(task)
        return task

    def is_ready(self, task: Task[_Result | ImageError]) -> bool:
        """Whether `result_of` need not wait."""
        return task.is_done or self._hangs(task)

    def result_of(self, begun: _Begun[_Result]) -> _Result | ImageError:
        """Waits for an item's answer; where reading hangs, leaves its thread behind and gives an error."""
        while not begun.task.wait(_LOOK_AGAIN):
            if self._hangs(begun.task):
                return self._give_up(begun.name, begun.task)
        return begun.task.result()

    def close(self) -> None:
        """Ends the threads, but for those that read and do not come back; a second call does nothing."""
        self._pool.close(_SECONDS_TO_RETURN)
        if self._batches is not None:
            self._batches.close()
        _OPEN.discard(self)  # only now: another Ctrl-C may come in between

    def _hangs(self, task: Task[_Result | ImageError]) -> bool:
        limit = self._plan.seconds
        return limit is not None and task.seconds_timed() >= limit + _MORE_SECONDS

    def _give_up(self, name: str, task: Task[_Result | ImageError]) -> ImageError:
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
            task.finish(prepared.finish(self._compute(prepared.pixels[None])[0]))
        else:
            self._batches.add(prepared.pixels, _delivery(task, prepared.finish))
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


_OPEN: Final[weakref.WeakSet[_Works[Any, Any]]] = weakref.WeakSet()
"""Works whose threads have not been ended: a stream that was left in the middle, and is held by a traceback."""


@atexit.register
def _close_all() -> None:
    """Ends all threads before Python goes: a library whose threads are still computing then ends in a crash."""
    for works in list(_OPEN):
        works.close()


def _delivery(task: Task[Any], finish: Callable[[FloatArray], _Result]) -> Callable[[FloatArray | BaseException], None]:
    def deliver(found: FloatArray | BaseException) -> None:
        if isinstance(found, BaseException):
            task.fail(found)
            return
        try:
            task.finish(finish(found))
        except BaseException as error:  # raised again where the answer is asked for
            task.fail(error)

    return deliver
