"""Exports a Vision Transformer to one ONNX file that answers as PyTorch does.

>>> from vit_export import ExportRequest, export
>>> export(ExportRequest(model="vit_b_16"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vit_export.progress import Progress
from vit_export.request import ExportRequest, PreprocessingOptions

if TYPE_CHECKING:
    from vit_export.exporter import Exported

__all__ = ["ExportRequest", "PreprocessingOptions", "export"]


def export(request: ExportRequest, progress: Progress | None = None) -> Exported:
    """Writes a verified artifact; see `vit_export.exporter.export`. torch is imported when it is called."""
    from vit_export.exporter import export as run_export

    return run_export(request, progress)
