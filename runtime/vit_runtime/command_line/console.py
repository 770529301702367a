"""Prints for the command lines: answers go to stdout, everything else to stderr, and errors are one line."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer

from vit_runtime.cache.engines import LOG
from vit_runtime.command_line.terminal import printable, printable_lines
from vit_runtime.devices.memory import return_large_blocks_at_once
from vit_runtime.errors import EXIT_INPUT, EXIT_INTERRUPTED, VitEdgeError, command_line, one_line
from vit_runtime.pictures.formats import silence_libtiff

DEBUG_VARIABLE: Final = "VIT_EDGE_DEBUG"
"""Environment variable that, when set, shows an error's traceback above its one line."""

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""What the system says of a disk that takes no more."""
_TORCH_OUT_OF_MEMORY: Final = "DefaultCPUAllocator"
"""torch raises a RuntimeError that names its allocator, where Python would raise MemoryError."""
_WRITERS: Final[list[Callable[[str], None]]] = []
"""What writes notes in place of stderr; the last one does."""


class Ended(KeyboardInterrupt):
    """A signal ends the command at once.

    Attributes:
        status: the exit status, that of shells.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def set_up() -> None:
    """Prepares the process for a command line; libraries leave such things to whoever owns the process."""
    _open_closed_streams()
    # Pillow warns of pictures that it reads well: broken EXIF, large photos. It also logs, and Python prints log
    # entries that nobody handles.
    warnings.simplefilter("ignore")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    LOG.addHandler(_NoteHandler())
    LOG.setLevel(logging.INFO)
    silence_libtiff()
    return_large_blocks_at_once()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name or label in letters that the terminal lacks should not lose the answer.
        sys.stdout.reconfigure(errors="backslashreplace")


def _open_closed_streams() -> None:
    """Gives streams that whoever started this process has closed to nobody, as `>&-` does in a shell.

    A file that is opened later would otherwise take a stream's number, and get what a library prints there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the first number that is free
    # Not stdin: that it is closed is said where paths are to be read from it.
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


class _NoteHandler(logging.Handler):
    """Shows what the library tells while it works."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def answer(text: object) -> None:
    """Prints a line of the answer."""
    typer.echo(printable(str(text)))


def note(text: str) -> None:
    """Tells the user something beside the answer, in one line."""
    if _WRITERS:
        _WRITERS[-1](printable(text))
    else:
        typer.echo(printable(text), err=True)


@contextmanager
def notes_through(write: Callable[[str], None]) -> Iterator[None]:
    """Has notes written by a function while the block runs: by a progress bar, which would be written over."""
    _WRITERS.append(write)
    try:
        yield
    finally:
        _WRITERS.pop()


def stdout_is_terminal() -> bool:
    """Whether answers on stdout come to where a progress bar would be in their way."""
    return sys.stdout.isatty()


def note_lines(text: str) -> None:
    """Tells the user something beside the answer in several lines, such as a table; each cell must be one line."""
    typer.echo(printable_lines(text), err=True)


def complain(error: Exception) -> None:
    """Shows an error in one line."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    note(f"error: {error if isinstance(error, VitEdgeError) else one_line(error)}")


@contextmanager
def report_errors() -> Iterator[None]:
    """Turns whatever is raised inside into one line on stderr and an exit status."""
    try:
        with command_line():
            yield
    except VitEdgeError as error:
        complain(error)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        status = error.status if isinstance(error, Ended) else EXIT_INTERRUPTED
        note("interrupted" if status == EXIT_INTERRUPTED else "ended")
        raise typer.Exit(status) from error
    except BrokenPipeError:
        _write_no_more()  # the reader of our output has seen enough, as `head` does
        raise typer.Exit(EXIT_INPUT) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or _TORCH_OUT_OF_MEMORY in str(error):
            note("error: out of memory; close other programs, or use a smaller model, picture or batch")
            raise typer.Exit(EXIT_INPUT) from error
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            note(f"error: no more can be written ({error.strerror}); free some room, or write elsewhere")
            _write_no_more()
            raise typer.Exit(EXIT_INPUT) from error
        complain(error)
        note(f"This is a bug in vit-edge. Please report it with what {DEBUG_VARIABLE}=1 shows.")
        raise typer.Exit(EXIT_INPUT) from error


def _write_no_more() -> None:
    """Lets whatever still comes to stdout vanish, also what Python writes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
