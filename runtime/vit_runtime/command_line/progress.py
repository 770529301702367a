"""A progress bar on stderr for commands with many pictures: how many, how fast, how long it still takes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from vit_runtime.command_line.console import notes_through

Advance: TypeAlias = Callable[[], None]


@contextmanager
def progress(count: Callable[[], int | None], *, wanted: bool) -> Iterator[Advance]:
    """Shows a bar while the block runs, where stderr is a terminal; gives what is to be called after each picture.

    Args:
        count: counts all pictures, in a thread of its own while the bar runs; None where nobody knows.
        wanted: whether there is anything to show, and nothing in the way of it.
    """
    if not (wanted and sys.stderr.isatty()):
        yield _nothing
        return
    from rich.console import Console  # 60 ms; it comes with typer
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False)
    task = bar.add_task("", total=None, rate="")

    def advance() -> None:
        speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
        bar.update(task, advance=1, rate="" if speed is None else f"{speed:.1f} pictures/s")

    # A folder on a slow card takes a while to be counted: the first answers need not wait for that.
    threading.Thread(target=lambda: bar.update(task, total=count()), daemon=True).start()
    with bar, notes_through(lambda text: bar.console.print(Text(text), soft_wrap=True)):
        yield advance


def _nothing() -> None:
    """There is no bar."""
