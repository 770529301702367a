"""What `vit-export --triton` serves: a file that is finished, or those that an export is about to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vit_export.request import ExportRequest, replaces_head
from vit_export.triton.repository import check_repository, served_name
from vit_runtime.artifact import Target
from vit_runtime.errors import UsageError


def is_finished(requests: Sequence[ExportRequest]) -> bool:
    """Whether the model that is asked for is an artifact already, so that there is nothing to export.

    Raises:
        UsageError: it is, and other options ask for an export all the same.
    """
    model = requests[0].name
    if Path(model).suffix != ".onnx" or replaces_head(requests[0]):
        return False
    if list(requests) != [ExportRequest(model=model, force=requests[0].force)]:
        raise UsageError(model, "is exported already, and takes no options of an export", "leave them out")
    return True


def check_served(request: ExportRequest, targets: Sequence[Target], repository: Path) -> None:
    """Looks whether the models of an export may be written into a repository, before the export's work.

    Raises:
        OutputFileError: one of them may not, or the export's own files may not.
    """
    from vit_export.destination import output_path  # imports torch

    for target in targets:
        path = output_path(replace(request, target=target))
        check_repository(repository, served_name(path), force=request.force)
