"""The note beside a file of answers that says what was asked, so that nothing else is ever added to it.

`results.csv` has its note in `results.csv.job`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from vit_runtime.errors import OutputFileError, option
from vit_runtime.files import atomic_write

JOB_ENDING: Final = ".job"
_LARGEST_BYTES: Final = 1 << 20

Job: TypeAlias = Mapping[str, str | int | float | bool | None]
"""What decides on the answers: the command, the model's digest, options."""


def job_path(results: Path) -> Path:
    """Where the note of a file of answers lies."""
    return results.with_name(results.name + JOB_ENDING)


def write_job(results: Path, job: Job) -> None:
    """Writes the note.

    Raises:
        OutputFileError: it cannot be written.
    """
    with atomic_write(job_path(results)) as file:
        file.write(json.dumps(job, indent=1).encode() + b"\n")


def check_job(results: Path, job: Job) -> None:
    """Refuses to go on with a file whose answers were asked for otherwise.

    Raises:
        OutputFileError: there is no note, it cannot be read, or it differs; the message says in what.
    """
    resume = option("resume", value=True)
    path = job_path(results)
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_BYTES)
        found = json.loads(text)
        if not isinstance(found, dict):
            raise TypeError("no object")
    except FileNotFoundError:
        remedy = f"give another {option('output')}, or {option('force', value=True)} to begin anew"
        raise OutputFileError(results, f"lacks {path.name}, which says what its answers are", remedy) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise OutputFileError(path, f"cannot be read ({error})", "delete it and begin anew") from error
    for key in (*job, *found):
        if job.get(key) != found.get(key):
            before, now = (f"{each.get(key)!s:.100}" for each in (found, job))  # a note can hold anything
            what = f"{resume} does not fit: it was written with {key} {before}, not {now}"
            raise OutputFileError(results, what, "ask as before, or give another file")
