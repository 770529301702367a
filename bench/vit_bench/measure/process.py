"""Runs a contender in a process of its own, and turns whatever happens to it into one line."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from vit_bench.errors import ContenderError
from vit_bench.measure import system
from vit_bench.measure.task import ANSWERED, PREFIX, Measured, PhotoAnswer, Task
from vit_runtime.artifact import codec
from vit_runtime.errors import one_line


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A process that ended well."""

    first_answer_seconds: float
    """From the start of the process; 0 where it was not asked to answer one photo first."""
    measured: Measured


def run_task(
    name: str,
    task: Task,
    environment: Mapping[str, str] | None = None,
    *,
    each: Callable[[PhotoAnswer], None] | None = None,
) -> Finished:
    """Runs one contender once.

    Args:
        name: what to call it in a message.
        task: its work.
        environment: the process's variables; None for this one's.
        each: called with the answer for each photo, in order, as they come.

    Raises:
        ContenderError: the process failed, or was killed.
    """
    first_answer = 0.0
    measured: Measured | None = None
    start = time.perf_counter()
    with _Process("vit_bench.measure.worker", json.dumps(codec.encode(task)), environment) as process:
        for text in process.told():
            if text == ANSWERED:
                first_answer = time.perf_counter() - start
            elif each is not None and "error" in (document := json.loads(text)):
                each(codec.decode(PhotoAnswer, document))
            else:
                measured = codec.decode(Measured, json.loads(text))
        process.finish(name)
    if measured is None:
        raise ContenderError(name, "ended without a result")
    return Finished(first_answer_seconds=first_answer, measured=measured)


def run_module(name: str, module: str, document: str) -> list[str]:
    """Runs one of our modules in a process of its own, with a JSON document on its standard input.

    Returns:
        the lines that it told.

    Raises:
        ContenderError: it failed, in its own words.
    """
    with _Process(module, document, None) as process:
        told = list(process.told())
        process.finish(name)
    return told


class _Process:
    """A Python process that gets a document and prints lines; killed where the block is left early.

    Ctrl-C is ours alone: in a session of its own the process does not hear it, and prints no traceback.
    """

    def __init__(self, module: str, document: str, environment: Mapping[str, str] | None) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the block's end
        self._process = system.start([sys.executable, "-m", module], stderr=self._errors, environment=environment)
        assert self._process.stdin is not None  # noqa: S101 - they were asked for
        assert self._process.stdout is not None  # noqa: S101
        self._lines: IO[str] = self._process.stdout
        try:
            # A process that ends at once may not read all of it, or nothing; `finish` says why.
            with system.reader_may_have_ended(), self._process.stdin as stdin:
                stdin.write(document)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        system.end(self._process)
        self._lines.close()
        self._errors.close()

    def told(self) -> Iterator[str]:
        """What it tells us, among whatever libraries print."""
        for line in self._lines:
            _, prefix, text = line.strip().partition(PREFIX)
            if prefix:
                yield text

    def finish(self, name: str) -> None:
        """Waits for the end; raises `ContenderError` where it is a bad one."""
        status = self._process.wait()
        if status == 0:
            return
        if status < 0:
            raise ContenderError(name, system.bad_end(status))
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1].removeprefix("error: ") if lines else system.bad_end(status)
        raise ContenderError(name, one_line(RuntimeError(last)))
