"""Exports a Vision Transformer to one ONNX file that answers as PyTorch does.

>>> from vit_export import ExportRequest, export
>>> export(ExportRequest(model="vit_b_16"))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vit_export.checks import checked, checked_for
from vit_export.errors import (
    CalibrationError,
    CheckpointError,
    ClassesError,
    DownloadError,
    ExamplesError,
    LabelsError,
    UnknownModelError,
    VerificationError,
)
from vit_export.exported import Exported
from vit_export.progress import Progress, Silent
from vit_export.request import ExportRequest, PreprocessingOptions, replaces_head
from vit_export.triton.repository import write_repository
from vit_runtime import __version__
from vit_runtime.artifact import Rollout, Target
from vit_runtime.errors import MissingDependencyError, OutputFileError, UsageError, VitEdgeError

if TYPE_CHECKING:
    from vit_export.texts.exporter import ExportedText

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "ClassesError",
    "DownloadError",
    "ExamplesError",
    "ExportRequest",
    "Exported",
    "ExportedText",
    "LabelsError",
    "MissingDependencyError",
    "OutputFileError",
    "PreprocessingOptions",
    "Progress",
    "Rollout",
    "UnknownModelError",
    "UsageError",
    "VerificationError",
    "VitEdgeError",
    "__version__",
    "export",
    "export_for",
    "export_text",
    "write_repository",
]


def export(request: ExportRequest, progress: Progress | None = None) -> Exported:
    """Writes a verified artifact; torch is imported only when this is called.

    Where `request.model` is an artifact already, and `request.examples` a folder of photos, the artifact gets a head
    that is fitted to them, and torch is not needed.

    Raises:
        MissingDependencyError: torch, or another package of the `export` extra, is not installed.
        UsageError: a field of the request is wrong, or does not go with another; raised before any work.
        VitEdgeError: one of `vit_export.errors` or `vit_runtime.errors`, for anything else; no file is left then.
    """
    from vit_export.extra import require_export_extra

    if replaces_head(checked(request)):
        return _with_new_head(checked(request), progress)
    require_export_extra()
    from vit_export.exporter import export as run_export

    return run_export(request, progress)


def export_for(request: ExportRequest, targets: Sequence[Target], progress: Progress | None = None) -> list[Exported]:
    """Writes a verified artifact for each of some targets, in their order, which replace `request.target`.

    They share one reading of the checkpoint, one set of PyTorch's answers, and one calibration. Each file is the same,
    byte for byte, as `export` writes for its target. `request.output` is a folder if there are several.

    Raises:
        VitEdgeError: as for `export`. The files appear when all are verified; no new one is left after an error.
    """
    from vit_export.extra import require_export_extra

    requests = checked_for(request, targets)
    if replaces_head(requests[0]):
        return [_with_new_head(each, progress) for each in requests]
    require_export_extra()
    from vit_export.exporter import export_for as run_export

    return run_export(request, targets, progress)


def export_text(request: ExportRequest, progress: Progress | None = None) -> ExportedText:
    """Writes a verified text tower of CLIP or SigLIP, for `vit_runtime.load_text`; `request.text` is taken for set.

    Raises:
        MissingDependencyError: torch, transformers or another package of the extra `export-text` is not installed.
        UsageError: a field of the request is for pictures, or wrong; raised before any work.
        CheckpointError: the model has no text tower, its tokenizer's files are missing, or its files do not fit.
        VitEdgeError: one of `vit_export.errors` or `vit_runtime.errors`, for anything else; no file is left then.
    """
    from vit_export.extra import require_export_extra

    require_export_extra()
    from vit_export.texts.exporter import export_text as run_export

    return run_export(request, progress)


def _with_new_head(request: ExportRequest, progress: Progress | None) -> Exported:
    from vit_export.extra import FITTING, require_export_extra

    require_export_extra(FITTING)
    from vit_export.heads.replace import replace_head

    return replace_head(request, progress or Silent())


def __getattr__(name: str) -> object:
    """Imports `ExportedText` only when it is used, because its module imports torch."""
    if name == "ExportedText":
        from vit_export.texts.exporter import ExportedText

        return ExportedText
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
