"""`Desk`: where a model answers pictures that come one by one, from any number of requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeAlias, TypeVar

from anyio import move_on_after

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Output
from vit_runtime.errors import ImageError
from vit_runtime.model import ViT, plan_of
from vit_runtime.serving.refusals import Refusal
from vit_runtime.workers.works import LOOK_AGAIN, Prepared, Works

_Result = TypeVar("_Result")

Read: TypeAlias = "Callable[[], Prepared[_Result]]"
"""Reads a picture, in a worker."""
_CLOSED: Final = "the service is ending"


class Desk:
    """A model's workers: the same as for a folder, with several runs at a time, or batches on an accelerator.

    For the event loop's thread, but for `close`.
    """

    def __init__(self, vit: ViT) -> None:
        self._vit = vit
        self._works: Works[Read[Any], Any] = Works(lambda read: read(), self._compute, plan_of(vit))
        self._closed = False

    async def answer(self, read: Read[_Result], name: str) -> _Result | ImageError:
        """Gives what `read` and then `finish` make of a picture, whose `wanted` are outputs of the model.

        Raises:
            Refusal: the service ends, or too many pictures hang.
            VitEdgeError: the model cannot compute.
        """
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        task = self._works.begin(read, partial(_tell, loop, done))
        while True:
            if self._works.is_ready(task):
                break
            if self._closed:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, _CLOSED)
            with move_on_after(LOOK_AGAIN):  # makes no task of its own, as asyncio.wait_for does
                await done.wait()
        if task.is_done:
            return task.result()
        try:
            return self._works.give_up(task, name)
        except ImageError as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error

    def close(self) -> None:
        """Ends the workers; who still waits is refused."""
        self._closed = True
        self._works.close()

    def _compute(self, pixels: UInt8Array, wanted: tuple[Output, ...]) -> list[tuple[FloatArray, ...]]:
        return list(zip(*self._vit.run(pixels, wanted), strict=True))


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    """Wakes who waits for an answer, from a worker's thread."""
    try:
        loop.call_soon_threadsafe(done.set)
    except RuntimeError:  # the service has ended: nobody waits
        return
