"""Answers any number of pictures, many at a time: for each item, in order, an answer, or the error that it gave.

`ViT`, the commands and the Ray predictor all come through here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.errors import ImageError
from vit_runtime.waiting import WAITING, Waiting
from vit_runtime.workers.frames import let_go
from vit_runtime.workers.pool import Task
from vit_runtime.workers.works import Plan, Prepared, Works

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

ComputeRows: TypeAlias = Callable[[UInt8Array], FloatArray]
"""Runs a model: from pixels, uint8 (N, H, W, 3), to an output's rows, float32 (N, ...)."""
_MOST_BYTES: Final = 256 << 20
"""Of encoded pictures that are held in memory at a time; a larger one is held alone."""


def stream(
    items: Iterable[_Item | Waiting],
    read: Callable[[_Item], Prepared[_Result]],
    compute: ComputeRows,
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
    works = Works(read, lambda pixels, _: compute(pixels), plan)
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
                begun = tasks.popleft()
                held -= begun.size
                yield works.result_of(begun.task, begun.name)
        while tasks:
            begun = tasks.popleft()
            yield works.result_of(begun.task, begun.name)
    finally:
        works.close()
    if failure is not None:
        raise failure


def answer_one(
    items: Iterable[_Item | Waiting], read: Callable[[_Item], Prepared[_Result]], compute: ComputeRows
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
