"""Finds out where an export goes, and whether it may be written there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vit_export.places import check_takes_files
from vit_export.read.finding import model_name
from vit_export.request import ExportRequest
from vit_runtime.errors import OutputFileError, option
from vit_runtime.files import blame

DEFAULT_FOLDER: Final = Path("models")


def output_path(request: ExportRequest) -> Path:
    """Gives the path of the file to write; an output whose name does not end in .onnx is a folder.

    Raises:
        OutputFileError: the file exists and may not be replaced, or nothing can be written there.
    """
    kind = ".text" if request.text else ""
    precision = "" if request.precision == "fp32" else f".{request.precision}"
    target = "" if request.target == "cpu" else f".{request.target}"
    file_name = f"{model_name(request.name)}{kind}{precision}{target}.onnx"
    path = DEFAULT_FOLDER if request.output is None else Path(request.output)
    if path.suffix != ".onnx":
        path /= file_name
    elsewhere = f"choose another {option('output')}"
    with blame(path, elsewhere):
        _check_place(path, elsewhere, force=request.force)
    return path


def _check_place(path: Path, elsewhere: str, *, force: bool) -> None:
    for file in (path, path.with_name(f"{path.name}.data")):
        if file.is_dir():
            raise OutputFileError(file, "is a folder", elsewhere)
        if file.exists() and not force:
            remedy = f"add {option('force', value=True)} to replace it, or {elsewhere}"
            raise OutputFileError(file, "exists already", remedy)
    check_takes_files(path, elsewhere)
