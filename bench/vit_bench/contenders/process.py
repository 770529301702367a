"""Runs a contender in a process of its own, and turns whatever happens to it into one line.

What is done on Windows follows its documentation, and is tested with stand-ins for its calls: it has not run there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

from vit_bench.contenders.task import ANSWERED, PREFIX, Measured, PhotoAnswer, Task
from vit_bench.errors import ContenderError
from vit_runtime.artifact import codec
from vit_runtime.errors import one_line

PATIENCE_SECONDS: Final = 1800.0
"""A contender that tells nothing for so long hangs; slow boards take minutes to compile or to calibrate a model."""
_NEW_GROUP: Final[int] = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
_FIRST_CODE: Final = 0x80000000
"""The first exit status of Windows that is an error code, as 0xC0000005 is for a read of foreign memory."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A process that ended well."""

    first_answer_seconds: float
    """Seconds from the start of the process; 0 where it was not asked to answer one photo first."""
    measured: Measured


def run_task(
    name: str,
    task: Task,
    environment: Mapping[str, str] | None = None,
    *,
    each: Callable[[PhotoAnswer], None] | None = None,
    patience: float = PATIENCE_SECONDS,
) -> Finished:
    """Runs one contender once.

    Args:
        name: what to call it in a message.
        task: its work.
        environment: the process's variables; None for this one's.
        each: called with the answer for each photo, in order, as they come.
        patience: seconds of silence after which the process is ended, besides those that it is to measure for.

    Raises:
        ContenderError: the process failed, or was killed.
    """
    first_answer = 0.0
    measured: list[Measured] = []

    def hear(text: str) -> None:
        nonlocal first_answer
        if text == ANSWERED:
            first_answer = time.perf_counter() - began
        elif each is not None and "error" in (document := json.loads(text)):
            each(codec.decode(PhotoAnswer, document))
        else:
            measured.append(codec.decode(Measured, json.loads(text)))

    busy = 2 * (task.seconds + task.warm_up_seconds)
    began = time.perf_counter()
    run_module(name, "vit_bench.contenders.worker", json.dumps(codec.encode(task)), hear, environment, patience + busy)
    if not measured:
        raise ContenderError(name, "ended without a result")
    return Finished(first_answer_seconds=first_answer, measured=measured[-1])


def run_module(
    name: str,
    module: str,
    document: str,
    hear: Callable[[str], object] = str,
    environment: Mapping[str, str] | None = None,
    patience: float = PATIENCE_SECONDS,
) -> None:
    """Runs one of our modules in a process of its own, which ends with this call at the latest.

    Ctrl-C is ours alone: the process leads a session (POSIX) or a group (Windows) of its own, does not hear it, and
    prints no traceback.

    Args:
        name: what to call it in a message.
        module: its whole name.
        document: JSON for its standard input.
        hear: is given each line that it tells, among whatever libraries print, as they come.
        environment: the process's variables; None for this one's.
        patience: seconds of silence after which the process is ended.

    Raises:
        ContenderError: it failed, in its own words, was killed, or told nothing for too long.
    """
    with (
        tempfile.TemporaryFile() as errors,
        start([sys.executable, "-m", module], errors, environment) as process,
        _Watch(process, patience) as watch,
    ):
        try:
            assert process.stdin is not None  # noqa: S101 - they were asked for
            assert process.stdout is not None  # noqa: S101
            # A process that ends at once may not read all of it, or nothing; its exit status says why.
            with reader_may_have_ended(), process.stdin as stdin:
                stdin.write(document)
            for line in process.stdout:
                _, prefix, text = line.strip().partition(PREFIX)
                if prefix:
                    watch.restart()
                    hear(text)
            process.wait()
        finally:
            end(process)
        if watch.rang:
            raise ContenderError(name, f"told nothing for {patience:g} seconds and was ended")
        if process.returncode:
            raise ContenderError(name, _why(process.returncode, errors))


class _Watch:
    """Ends a process that has been silent for too long, from a thread of its own."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process, self._seconds = process, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self.rang = False
        self.restart()

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def restart(self) -> None:
        """Counts from now on."""
        self._deadline = time.monotonic() + self._seconds

    def _wait(self) -> None:
        while not self._over.wait(max(0.0, left := self._deadline - time.monotonic())):
            if left <= 0:
                self.rang = True
                kill(self._process)
                return


def start(command: list[str], errors: IO[bytes], environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts a process that Ctrl-C does not reach, with pipes to its standard input and from its standard output."""
    return subprocess.Popen(  # noqa: S603 - our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        start_new_session=True,
        creationflags=_NEW_GROUP,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kills a process that `start` has started, as `kill` does, and waits for its end."""
    kill(process)
    process.wait()


def kill(process: subprocess.Popen[str]) -> None:
    """Kills a process that `start` has started, together with whatever it has started itself.

    Windows finds those by way of their parents: what a process leaves behind that has ended already goes on there.
    """
    if hasattr(os, "killpg") and hasattr(signal, "SIGKILL"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        _end_tree(process)


def _end_tree(process: subprocess.Popen[str]) -> None:
    children = []
    with contextlib.suppress(ImportError):  # what starts processes is torch.compile, whose extra brings psutil
        import psutil

        with contextlib.suppress(psutil.Error):
            children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()


@contextlib.contextmanager
def reader_may_have_ended() -> Iterator[None]:
    """Passes over what a pipe says when nobody reads it any more: `BrokenPipeError`, on Windows also `EINVAL`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EINVAL):
            raise


def _why(status: int, errors: IO[bytes]) -> str:
    """What a process said last that ended badly; else, or where it was killed, how it ended."""
    errors.seek(0)
    lines = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1].removeprefix("error: ") if lines and status > 0 else bad_end(status)
    return one_line(RuntimeError(last))


def bad_end(status: int) -> str:
    """How a process ended whose exit status is not 0: "was ended by SIGTERM", "exit status 7".

    Windows knows no signals: a process that was ended there has an exit status like any other.
    """
    if status >= _FIRST_CODE:
        return f"exit status 0x{status:08X}"
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # real-time signals have none
        name = f"signal {-status}"
    memory = ", as the system does where memory is short" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"
