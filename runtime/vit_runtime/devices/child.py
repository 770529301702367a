"""A Python process of our own for what may crash: drivers and providers' libraries take no more than it with them.

Parent and child speak in lines of JSON: the child's standard input brings what to do, its standard output the answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final

from vit_runtime.errors import VitEdgeError, one_line

PATIENCE: Final = 120.0
"""Seconds after which a child that answers nothing is taken to hang."""
_DEBUG_VARIABLE: Final = "VIT_EDGE_DEBUG"
_ERROR: Final = "error"
"""Key of the document with which a child answers that it cannot."""
_NEW_GROUP: Final[int] = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
# The path is the parent's, so that the child finds what the parent found, and nothing in the current folder.
_PROGRAM: Final = "import sys; module, *sys.path[:] = sys.argv[1:]; __import__(module, fromlist=['main']).main()"


class ChildError(Exception):
    """A child that has no answer; the text says why, or how it ended."""


class Child:
    """A process that runs the function `main` of one of our modules."""

    def __init__(self, module: str, patience: float = PATIENCE) -> None:
        """Starts the process; Ctrl-C does not reach it.

        Args:
            module: its whole name.
            patience: seconds to wait for each answer.
        """
        self._patience = patience
        self._process = subprocess.Popen(  # noqa: S603 - Python itself
            [sys.executable, "-c", _PROGRAM, module, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get(_DEBUG_VARIABLE) else subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            creationflags=_NEW_GROUP,
        )

    def ask(self, document: object) -> object:
        """Sends a JSON document, and waits for the answer, another one.

        Raises:
            ChildError: there is none: the child crashed, hung, or ended.
        """
        assert self._process.stdin is not None  # noqa: S101 - they were asked for
        assert self._process.stdout is not None  # noqa: S101
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            self._process.kill()

        patience = threading.Timer(self._patience, give_up)
        patience.start()
        try:
            with contextlib.suppress(OSError):  # a broken pipe, by various names: how the child ended says more
                self._process.stdin.write(f"{json.dumps(document)}\n")
                self._process.stdin.flush()
            answer = self._process.stdout.readline()
        finally:
            patience.cancel()
        if not answer.endswith("\n"):  # nothing, or half an answer
            raise ChildError(f"it answered nothing for {self._patience:g} s" if hung.is_set() else self._end())
        result: object = json.loads(answer)
        if isinstance(result, dict) and list(result) == [_ERROR]:
            raise ChildError(str(result[_ERROR]))
        return result

    def close(self) -> None:
        """Ends the process; a second call does nothing."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _end(self) -> str:
        """Says in words how the process ended without an answer."""
        code = self._process.wait()
        if code >= 0:
            return f"its process ended (exit status {code:#x})"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"it was killed ({name}): is memory short?" if name == "SIGKILL" else f"it crashed ({name})"


class Answers:
    """The child's side: what it is asked, and where it answers."""

    def __init__(self) -> None:
        """Takes standard output for the answers alone; what libraries print goes nowhere."""
        self._output = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def asked(self) -> Iterator[object]:
        """The parent's documents, until it asks for nothing more."""
        for line in sys.stdin:
            yield json.loads(line)

    @contextlib.contextmanager
    def report_errors(self) -> Iterator[None]:
        """Tells the parent of whatever is raised inside, as the last answer."""
        try:
            yield
        except VitEdgeError as error:
            self.answer({_ERROR: error.what})
        except Exception as error:  # whatever a provider's library raises
            self.answer({_ERROR: one_line(error)})

    def answer(self, document: object) -> None:
        """Sends a document that JSON can hold."""
        self._output.write(f"{json.dumps(document)}\n")
        self._output.flush()
