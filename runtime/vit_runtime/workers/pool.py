"""Threads that do tasks, and that are left behind where one of them does not come back.

Python's own `ThreadPoolExecutor` waits for its threads when the program ends. A thread that hangs in a decoder, or that
reads from a disk which does not answer, would hold the program up for ever. These threads do not.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, Generic, TypeVar

_Result = TypeVar("_Result")

_LOOK_AGAIN: Final = 0.1
"""Seconds between looks at a thread that is to end."""


class Task(Generic[_Result]):
    """A piece of work, and what came of it."""

    def __init__(self, work: Callable[[Task[_Result]], None], when_done: Callable[[], None] | None = None) -> None:
        self._work: Callable[[Task[_Result]], None] | None = work
        self._when_done = when_done
        self._done = threading.Event()
        self._result: _Result | None = None
        self._error: BaseException | None = None
        self._timed_since: list[float] = []
        self._timed_before = 0.0
        self.thread: threading.Thread | None = None
        """The thread that works on it, or that has."""

    @property
    def is_done(self) -> bool:
        """Whether there is a result, or an error in its place."""
        return self._done.is_set()

    def run(self) -> None:
        """Does the work, which calls `finish` itself, now or later from another thread; an exception finishes it."""
        work, self._work = self._work, None  # the picture in it can be large, and is wanted once
        if work is None:
            return
        try:
            work(self)
        except BaseException as error:  # raised again where the result is asked for
            self.fail(error)

    def finish(self, result: _Result) -> None:
        """Hands over the result."""
        self._result = result
        self._end()

    def fail(self, error: BaseException) -> None:
        """Hands over an exception in place of a result."""
        self._error = error
        self._end()

    def _end(self) -> None:
        self._done.set()
        if self._when_done is not None:
            self._when_done()

    def start_timing(self) -> None:
        """Counts the time from now on as that of work which may hang."""
        self._timed_since = [time.monotonic()]

    def stop_timing(self) -> bool:
        """That work has come back, or counts as lost; says whether this is the first to say so."""
        try:
            self._timed_since.pop()  # in one step, as two threads may come here at once
        except IndexError:
            return False
        return True

    def pause_timing(self) -> None:
        """That work waits for another, which is no time of its own."""
        self._timed_before = self.seconds_timed()
        self.stop_timing()

    def resume_timing(self) -> None:
        """It goes on, and so does its time."""
        self._timed_since = [time.monotonic() - self._timed_before]

    def seconds_timed(self) -> float:
        """How long the work that may hang has been going on."""
        return max((time.monotonic() - since for since in list(self._timed_since)), default=0.0)

    def wait(self, seconds: float) -> bool:
        """Waits at most so long, and says whether the task is done."""
        return self._done.wait(seconds)

    def result(self) -> _Result:
        """Gives the result of a task that is done, and lets go of it; raises the exception that came in its place."""
        if self._error is not None:
            raise self._error
        result, self._result = self._result, None  # it may hold a decoded photo
        return result  # type: ignore[return-value]  # `finish` has set it


class Pool:
    """A number of threads that do tasks in the order in which they come."""

    def __init__(self, workers: int) -> None:
        self._tasks: queue.SimpleQueue[Task[object] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._current: dict[threading.Thread, Task[object]] = {}
        self.is_closed = False
        """Whether nobody wants any result any more."""
        self._left_behind: list[threading.Thread] = []
        for _ in range(workers):
            self._start()

    @property
    def left_behind(self) -> int:
        """Threads that were given up, and have not come back since."""
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        return len(self._left_behind)

    def submit(self, task: Task[_Result]) -> None:
        """Puts a task behind the others."""
        self._tasks.put(task)  # type: ignore[arg-type]  # the queue does not look into tasks

    def give_up(self, task: Task[_Result]) -> None:
        """Leaves the thread that works on a task behind, whatever becomes of it, and starts another in its place."""
        if task.thread in self._threads:
            self._threads.remove(task.thread)
            self._left_behind.append(task.thread)
            self._start()

    def close(self, seconds: float) -> None:
        """Ends the threads: the steps that they are at are done first.

        A program that ends while a thread computes in a library can crash. So this waits, but not for work that may
        hang and has taken longer than `seconds`: such a thread ends when that comes back. This does not wait for the
        thread that calls it, either: Python collects garbage in any thread, and with it a stream that was left in the
        middle.
        """
        self.is_closed = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            while thread.is_alive() and thread is not threading.current_thread() and not self._hangs(thread, seconds):
                thread.join(_LOOK_AGAIN)

    def _hangs(self, thread: threading.Thread, seconds: float) -> bool:
        task = self._current.get(thread)
        return task is not None and task.seconds_timed() > seconds

    def _start(self) -> None:
        # In the context of whoever asks: messages name options as they can be typed there.
        run = copy_context().run
        thread = threading.Thread(target=run, args=(self._work,), name="vit-edge worker", daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads: fewer do as well
            self._threads.remove(thread)
            if not self._threads:
                raise

    def _work(self) -> None:
        me = threading.current_thread()
        while me in self._threads and (task := self._tasks.get()) is not None:
            if not self.is_closed:
                task.thread = me
                self._current[me] = task
                task.run()
            self._current.pop(me, None)
            del task  # what it holds must not live until the next one comes
