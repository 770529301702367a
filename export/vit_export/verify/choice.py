"""Chooses the PyTorch model that an export is compared with."""

from __future__ import annotations

from vit_export.progress import Progress
from vit_export.read.headless import headless
from vit_export.read.prepare import Prepared
from vit_export.request import ExportRequest
from vit_export.verify.library import PACKAGES, library_reference
from vit_export.verify.new_head import NewHead
from vit_export.verify.plain_vit import PlainViT
from vit_export.verify.reference import ReferenceModel
from vit_export.verify.torchvision_vit import TorchvisionViT, torchvision_model
from vit_runtime.errors import UsageError, option


def reference_for(prepared: Prepared, request: ExportRequest, progress: Progress) -> ReferenceModel:
    """Gives torchvision's own model for its family; for others a plain one, or with `--against library` the library's.

    A head that was fitted to photos reads the embedding of a model without a head.

    Raises:
        VitEdgeError: one of `vit_export.errors`: the library is not installed, or cannot use the checkpoint.
    """
    if prepared.head is not None and prepared.head.origin == "examples":
        return NewHead(reference_for(headless(prepared), request, progress), prepared)
    if prepared.source.family == "torchvision":
        return TorchvisionViT(torchvision_model(prepared.architecture, prepared.state))
    if request.against is None:
        return PlainViT(prepared.architecture, prepared.state)
    if prepared.source.family not in PACKAGES:
        what = f"{request.name} has open_clip's files, which no other library reads"
        raise UsageError(option("against", "library"), what, "leave it out")
    theirs = library_reference(PACKAGES[prepared.source.family], request, prepared, progress)
    is_theirs = prepared.head is None or prepared.head.origin == "checkpoint"
    return theirs if is_theirs else NewHead(theirs, prepared)
