"""Finds out where an export goes, and whether it may be written there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vit_export.places import check_takes_files
from vit_export.request import ExportRequest, replaces_head
from vit_runtime.errors import OutputFileError, option
from vit_runtime.files import blame

DEFAULT_FOLDER: Final = Path("models")


def output_path(request: ExportRequest) -> Path:
    """Gives the path of the file to write; an output whose name does not end in .onnx is a folder.

    Raises:
        OutputFileError: the file exists and may not be replaced, or nothing can be written there.
    """
    path = DEFAULT_FOLDER if request.output is None else Path(request.output)
    if path.suffix != ".onnx":
        path /= _file_name(request)
    elsewhere = f"choose another {option('output')}"
    with blame(path, elsewhere):
        _check_place(path, elsewhere, force=request.force)
    return path


def _file_name(request: ExportRequest) -> str:
    """The model's name, then what it was turned into; classes of one's own go by the name of their folder."""
    examples = "" if request.examples is None else f".{Path(request.examples).resolve().name}"
    if replaces_head(request):
        return f"{Path(request.name).stem}{examples}.onnx"
    from vit_export.read.finding import model_name  # imports torch

    kind = ".text" if request.text else ""
    precision = "" if request.precision == "fp32" else f".{request.precision}"
    target = "" if request.target == "cpu" else f".{request.target}"
    return f"{model_name(request.name)}{kind}{examples}{precision}{target}.onnx"


def _check_place(path: Path, elsewhere: str, *, force: bool) -> None:
    for file in (path, path.with_name(f"{path.name}.data")):
        if file.is_dir():
            raise OutputFileError(file, "is a folder", elsewhere)
        if file.exists() and not force:
            remedy = f"add {option('force', value=True)} to replace it, or {elsewhere}"
            raise OutputFileError(file, "exists already", remedy)
    check_takes_files(path, elsewhere)
