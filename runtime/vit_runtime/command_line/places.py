"""Finds out where a command's results go, and refuses bad places before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vit_runtime.errors import OutputFileError, UsageError, option
from vit_runtime.files import blame
from vit_runtime.heatmap import OVERLAY_FORMATS
from vit_runtime.pictures.naming import OVERLAY_ENDING
from vit_runtime.vectors import VECTOR_SUFFIXES

_ELSEWHERE: Final = "choose another place"


def check_vector_file(path: Path, *, force: bool) -> None:
    """Refuses a file that embeddings cannot be written to.

    Raises:
        UsageError: the file's name does not end in a known format.
        OutputFileError: the folder does not exist, or the file exists and `force` does not say to replace it.
    """
    if path.suffix.lower() not in VECTOR_SUFFIXES:
        remedy = f"end it in {' or '.join(VECTOR_SUFFIXES)}"
        raise UsageError(option("output"), f"'{path}' names no known format", remedy)
    with blame(path, _ELSEWHERE):
        _require_folder(path)
    _refuse_existing(path, force=force)


def check_report_file(path: Path, *, force: bool) -> None:
    """Refuses a place that a report cannot be written to.

    Raises:
        OutputFileError: the folder does not exist, or the file exists and `force` does not say to replace it.
    """
    with blame(path, _ELSEWHERE):
        _require_folder(path)
        exists = path.exists()
    if exists and not force:
        raise OutputFileError(path, "exists already", f"add {option('force', value=True)} to replace it")


def overlay_paths(photos: Sequence[Path], output: Path | None, *, force: bool = False) -> list[Path]:
    """Gives the path of each photo's overlay: in this folder, in the folder `output`, or for one photo `output` itself.

    Photos of the same name get a number.

    Raises:
        UsageError: `output` is one file for several photos, or its suffix is none of `OVERLAY_FORMATS`.
        OutputFileError: the place does not exist, or a file exists there and `force` does not say to replace it.
    """
    with blame(Path() if output is None else output, _ELSEWHERE):
        paths = _overlay_paths(photos, output)
    for path in paths:
        _refuse_existing(path, force=force)
    return paths


def _overlay_paths(photos: Sequence[Path], output: Path | None) -> list[Path]:
    folder = output or Path()
    if output is not None and output.suffix and not output.is_dir():
        if output.suffix.lower() not in OVERLAY_FORMATS:
            remedy = f"end it in {', '.join(OVERLAY_FORMATS)}"
            raise UsageError(option("output"), f"'{output}' names no picture", remedy)
        if len(photos) > 1:
            raise UsageError(option("output"), f"'{output}' is one file for {len(photos)} photos", "name a folder")
        _require_folder(output)
        return [output]
    names: dict[str, None] = {}
    for photo in photos:
        spellings = (photo.stem, *(f"{photo.stem}-{number}" for number in range(2, len(photos) + 2)))
        names[next(name for name in spellings if name not in names)] = None
    return [folder / f"{name}{OVERLAY_ENDING}.png" for name in names]


def _require_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputFileError(path, "cannot be written (No such file or directory)", _ELSEWHERE)


def _refuse_existing(path: Path, *, force: bool) -> None:
    with blame(path, _ELSEWHERE):
        exists = path.exists()
    if exists and not force:
        remedy = f"add {option('force', value=True)} to replace it, or choose another {option('output')}"
        raise OutputFileError(path, "exists already", remedy)
