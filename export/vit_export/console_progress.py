"""Shows an export's progress on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from vit_runtime.command_line.terminal import printable


class ConsoleProgress:
    """A `vit_export.progress.Progress` for people; use it as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ConsoleProgress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        if self._console.is_terminal:
            self._bars.stop()

    def stage(self, description: str, total: int | None = None) -> None:
        """Ends the stage before, and begins another."""
        self._finish()
        if self._console.is_terminal:
            self._task = self._bars.add_task(escape(printable(description)), total=total)
        else:
            self.note(description)

    def advance(self, amount: int) -> None:
        """Moves the current bar."""
        if self._task is not None:
            self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        """Prints a line above the bars."""
        self._console.print(printable(text), soft_wrap=True, markup=False)

    def _finish(self) -> None:
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, total=total, completed=total)
            self._task = None
