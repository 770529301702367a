"""Finds out where a command's results go, and refuses bad places before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

from vit_runtime.errors import OutputFileError, UsageError, option
from vit_runtime.files import blame
from vit_runtime.heatmap import OVERLAY_FORMATS
from vit_runtime.pictures.naming import OVERLAY_ENDING

_ELSEWHERE: Final = "choose another place"


def check_answer_file(path: Path, suffixes: Sequence[str], *, force: bool, resume: bool) -> None:
    """Refuses a file that answers cannot be written to.

    Raises:
        UsageError: the file's name does not end in one of `suffixes`.
        OutputFileError: the folder does not exist, or the file exists, and neither `force` says to replace it nor
            `resume` to go on with it.
    """
    if path.suffix.lower() not in suffixes:
        remedy = f"end it in {' or '.join(suffixes)}"
        raise UsageError(option("output"), f"'{path}' names no known format", remedy)
    with blame(path, _ELSEWHERE):
        _require_folder(path)
    _refuse_existing(path, force=force or resume)


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


class OverlayPlaces:
    """Says where the overlay of each photo goes: into this folder, into the folder `output`, or into `output` itself.

    Photos of the same name get a number.
    """

    def __init__(self, output: Path | None, *, single: bool, force: bool, resume: bool) -> None:
        """Refuses a bad place.

        Args:
            output: what the user named.
            single: whether there is only one photo.
            force: whether to replace what is there.
            resume: whether to leave out the photos whose overlay is there.

        Raises:
            UsageError: `output` is one file for several photos, or its suffix is none of `OVERLAY_FORMATS`.
            OutputFileError: the folder does not exist.
        """
        self._file: Path | None = None
        self._folder = output or Path()
        self._force, self._resume = force, resume
        self._names: dict[str, int] = {}
        with blame(self._folder, _ELSEWHERE):
            if output is None or not output.suffix or output.is_dir():
                return
            if output.suffix.lower() not in OVERLAY_FORMATS:
                remedy = f"end it in {', '.join(OVERLAY_FORMATS)}"
                raise UsageError(option("output"), f"'{output}' names no picture", remedy)
            if not single:
                raise UsageError(option("output"), f"'{output}' is one file for several photos", "name a folder")
            _require_folder(output)
            self._file = output

    def place(self, photo: str) -> Path | None:
        """Where the overlay of the next photo goes; None where it is there already and is to be left.

        Raises:
            OutputFileError: it is there already.
        """
        path = self._file or self._folder / f"{self._free_name(PurePath(photo).stem)}{OVERLAY_ENDING}.png"
        if self._resume and path.exists():
            return None
        _refuse_existing(path, force=self._force)
        return path

    def _free_name(self, stem: str) -> str:
        """The stem, with a number behind it where it was there before."""
        name = stem
        while name in self._names:
            self._names[stem] += 1
            name = f"{stem}-{self._names[stem]}"
        self._names[name] = 1
        return name


def _require_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputFileError(path, "cannot be written (No such file or directory)", _ELSEWHERE)


def _refuse_existing(path: Path, *, force: bool) -> None:
    with blame(path, _ELSEWHERE):
        exists = path.exists()
    if exists and not force:
        remedy = f"add {option('force', value=True)} to replace it, or choose another {option('output')}"
        raise OutputFileError(path, "exists already", remedy)
