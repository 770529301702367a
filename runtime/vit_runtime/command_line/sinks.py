"""Where records go: JSON lines on stdout, or a file that grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import typer

from vit_runtime.command_line.console import note, stdout_is_terminal
from vit_runtime.command_line.jobs import PictureJob
from vit_runtime.errors import ImageError, UsageError, option
from vit_runtime.results.formats import Layout, Record, format_of, json_line
from vit_runtime.wording import plural

if TYPE_CHECKING:
    from vit_runtime.results.job import Job

MakeRecord: TypeAlias = Callable[..., Record]
"""Makes a record of a picture's name and the output's row."""


def failed(error: ImageError) -> Record:
    """The record of a picture that could not be answered."""
    return {"image": str(error.where), "error": str(error)}


def print_records(job: PictureJob, answer: MakeRecord) -> None:
    """Answers all pictures with a line of JSON each on stdout."""
    with closing(job.records(answer, bar=not stdout_is_terminal())) as records:
        for record in records:
            typer.echo(json_line(failed(record) if isinstance(record, ImageError) else record))
    job.end()


def write_records(job: PictureJob, answer: MakeRecord, path: Path, layout: Layout, facts: Job, *, resume: bool) -> None:
    """Answers all pictures with a record each in a file, and says how many at the end."""
    from vit_runtime.results.growing import GrowingFile

    file = GrowingFile(path, format_of(path, layout), facts, resume=resume)
    written = 0
    try:
        with closing(job.records(answer, takes=file.takes, before=file.held, bar=True)) as records:
            for record in records:
                file.write(failed(record) if isinstance(record, ImageError) else record)
                written += 1
    finally:
        file.close()
        before = f", {file.held:,} of them from before" if file.held else ""
        note(f"{path}: {plural(file.held + written, 'record')}{before}")
    job.end()


def refuse_resume_without_file(*, resume: bool, output: Path | None, suffixes: Iterable[str]) -> None:
    """Refuses `--resume` where there is no file to go on with.

    Raises:
        UsageError: there is none.
    """
    if resume and (output is None or output.suffix.lower() not in suffixes):
        remedy = f"add {option('output')} FILE{' or FILE'.join(suffixes)}"
        raise UsageError(option("resume", value=True), "goes on with a file of records", remedy)
