"""An export from request to file: read, prepare, ask PyTorch, write, verify, publish.

Several targets share what comes before the writing. All graphs are written before the first is verified, so that
PyTorch's weights need not stay; files are published when all of them are verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vit_export.checks import checked, checked_for
from vit_export.describing import description_of
from vit_export.destination import output_path
from vit_export.exported import Exported
from vit_export.extra import FITTING, require_export_extra
from vit_export.heads.encoder import with_examples
from vit_export.heads.folder import read_folder
from vit_export.heads.text_tower import read_text_classes
from vit_export.int8.calibration_pictures import CalibrationPictures, read_calibration
from vit_export.int8.writing import write_dynamic, write_static
from vit_export.progress import Named, Progress, Silent
from vit_export.read.prepare import Prepared, read_and_prepare
from vit_export.request import ExportRequest
from vit_export.verify.choice import reference_for
from vit_export.verify.comparison import Expected, ask_reference, verify
from vit_export.write.blueprint import Blueprint
from vit_export.write.graph import build_graph
from vit_export.write.model_file import new_model_files
from vit_export.write.targets import float_lowering
from vit_export.write.weights import finite_weights
from vit_export.write.work import Work
from vit_runtime.artifact import Artifact, Quantization, Target
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.errors import UsageError, option


def export(request: ExportRequest, progress: Progress | None = None) -> Exported:
    """Writes a verified artifact.

    Raises:
        VitEdgeError: one of `vit_export.errors` or `vit_runtime.errors`; no file is left then.
    """
    (exported,) = _export([_for_pictures(checked(request))], progress or Silent())
    return exported


def export_for(request: ExportRequest, targets: Sequence[Target], progress: Progress | None = None) -> list[Exported]:
    """Writes a verified artifact for each target, in the order of `targets`, which replace `request.target`.

    Raises:
        VitEdgeError: as for `export`; no file of any target is left then.
    """
    return _export(list(map(_for_pictures, checked_for(request, targets))), progress or Silent())


def _for_pictures(request: ExportRequest) -> ExportRequest:
    if request.text:
        raise UsageError(option("text"), "is for vit_export.export_text", "call that one")
    return request


def _export(requests: Sequence[ExportRequest], progress: Progress) -> list[Exported]:
    """Writes an artifact for each request; they are checked, and differ in their target alone."""
    request = requests[0]
    import_onnxruntime()  # needed at the end; if it is missing, say so before the work
    destinations = [output_path(each) for each in requests]
    prepared = _prepared(request, destinations[0], progress)
    descriptions = [description_of(prepared, each) for each in requests]
    pictures = None
    if request.calibrate is not None:
        pictures = read_calibration(request.calibrate, prepared.preprocessing, progress)
    expected = _ask_reference(prepared, request, progress)
    blueprint = Blueprint(
        arch=prepared.architecture,
        preprocessing=prepared.preprocessing,
        weights=finite_weights(prepared.state, prepared.source.weights),
        rollout=request.rollout,
    )
    del prepared
    with new_model_files(destinations) as files:
        tells = [progress] if len(files) == 1 else [Named(file.path.name, progress) for file in files]
        works = [
            Work(file=file, description=description, progress=told)
            for file, description, told in zip(files, descriptions, tells, strict=True)
        ]
        quantizations = _write(works, request, blueprint, pictures, progress)
        del blueprint  # frees PyTorch's weights before onnxruntime loads its own
        artifacts = [
            _verified(work, expected, quantization) for work, quantization in zip(works, quantizations, strict=True)
        ]
    return [
        Exported(path=destination, artifact=artifact)
        for destination, artifact in zip(destinations, artifacts, strict=True)
    ]


def _prepared(request: ExportRequest, destination: Path, progress: Progress) -> Prepared:
    """Reads the checkpoint, and gives it the classes that the request describes or shows, where it does."""
    if request.examples is not None:
        # What is wrong with a folder or a text should be found before anything is fetched.
        require_export_extra(FITTING)
        classes = read_folder(request.examples, progress, unknown=request.unknown)
        return with_examples(read_and_prepare(request, progress), classes, request, destination, progress)
    if request.classes is not None:
        texts = read_text_classes(request.classes, request, progress)
        return texts.as_head_of(read_and_prepare(request, progress), progress)
    return read_and_prepare(request, progress)


def _ask_reference(prepared: Prepared, request: ExportRequest, progress: Progress) -> Expected:
    """Gives PyTorch's answers; a library's own model is freed when this returns."""
    reference = reference_for(prepared, request, progress)
    progress.stage("asking PyTorch for reference answers")
    return ask_reference(reference, prepared.architecture, prepared.preprocessing, request.rollout)


def _write(
    works: Sequence[Work],
    request: ExportRequest,
    blueprint: Blueprint,
    pictures: CalibrationPictures | None,
    progress: Progress,
) -> Sequence[Quantization | None]:
    """Writes the graphs, and returns what each artifact says about its quantization; None in float."""
    if pictures is not None:
        return write_static(works, request, blueprint, pictures, progress)
    if request.precision == "int8":
        return [write_dynamic(work, request, blueprint) for work in works]
    for work in works:
        work.write(build_graph(blueprint, float_lowering(request.precision, work.description.target)))
    return [None] * len(works)


def _verified(work: Work, expected: Expected, quantization: Quantization | None) -> Artifact:
    """Compares the written graph with PyTorch, and ends the file with the artifact's document, made from the result."""
    work.progress.stage("verifying against PyTorch")
    verification, self_test = verify(work.open(), expected)
    artifact = Artifact(
        **vars(work.description),
        quantization=quantization,
        external_data=work.file.external_data,
        verification=verification,
        self_test=self_test,
    )
    work.file.write_metadata(artifact)
    return artifact
