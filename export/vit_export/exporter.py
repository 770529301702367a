"""An export from request to file: read, prepare, ask PyTorch, write, verify, publish."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vit_export.checks import checked
from vit_export.destination import output_path
from vit_export.errors import CheckpointError
from vit_export.int8.calibration_pictures import CalibrationPictures, read_calibration
from vit_export.int8.writing import write_dynamic, write_static
from vit_export.progress import Progress, Silent
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
from vit_runtime import __version__
from vit_runtime.artifact import FORMAT_VERSION, Artifact, Description, Output, Quantization, codec
from vit_runtime.devices.session import import_onnxruntime
from vit_runtime.errors import one_line


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A finished export."""

    path: Path
    artifact: Artifact

    @property
    def bytes(self) -> int:
        """Size on disk in bytes, including weights that are in a file of their own."""
        return self.path.stat().st_size + (self.artifact.external_data.bytes if self.artifact.external_data else 0)


def export(request: ExportRequest, progress: Progress | None = None) -> Exported:
    """Writes a verified artifact.

    Raises:
        VitEdgeError: one of `vit_export.errors` or `vit_runtime.errors`; no file is left then.
    """
    progress = progress or Silent()
    request = checked(request)
    import_onnxruntime()  # needed at the end; if it is missing, say so before the work
    destination = output_path(request)
    prepared = read_and_prepare(request, progress)
    description = _description(prepared, request)
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
    with new_model_files([destination]) as (file,):
        work = Work(file=file, description=description, progress=progress)
        quantization = _write(work, request, blueprint, pictures)
        del blueprint  # frees PyTorch's weights before onnxruntime loads its own
        artifact = _verified(work, expected, quantization)
        file.write_metadata(artifact)
    return Exported(path=destination, artifact=artifact)


def _description(prepared: Prepared, request: ExportRequest) -> Description:
    """Gives the part of the artifact's document that is known before the work.

    Raises:
        CheckpointError: readers of the artifact would refuse the text of a name, label or licence.
    """
    logits: tuple[Output, ...] = ("logits",) if prepared.architecture.classes else ()
    rollout: tuple[Output, ...] = () if request.rollout is None else ("rollout",)
    description = Description(
        format_version=FORMAT_VERSION,
        producer=f"vit-edge {__version__}",
        model=prepared.name,
        source=prepared.source,
        architecture=prepared.architecture,
        preprocessing=prepared.preprocessing,
        assumptions=prepared.assumptions,
        labels=prepared.labels,
        outputs=(*logits, "embedding", *rollout),
        rollout=request.rollout,
        precision=request.precision,
        target=request.target,
    )
    try:
        return codec.decode(Description, json.loads(description.to_json().encode()))
    except (codec.SchemaError, UnicodeEncodeError) as error:
        what = f"has words that no artifact can hold ({one_line(error)})"
        raise CheckpointError(prepared.source.weights, what, "change them in its files, or rename it") from error


def _ask_reference(prepared: Prepared, request: ExportRequest, progress: Progress) -> Expected:
    """Gives PyTorch's answers; a library's own model is freed when this returns."""
    reference = reference_for(prepared, request, progress)
    progress.stage("asking PyTorch for reference answers")
    return ask_reference(reference, prepared.architecture, prepared.preprocessing, request.rollout)


def _write(
    work: Work, request: ExportRequest, blueprint: Blueprint, pictures: CalibrationPictures | None
) -> Quantization | None:
    """Writes the graph, and returns what the artifact says about its quantization; None in float."""
    if pictures is not None:
        return write_static(work, request, blueprint, pictures)
    if request.precision == "int8":
        return write_dynamic(work, request, blueprint)
    work.write(build_graph(blueprint, float_lowering(request.precision, request.target)))
    return None


def _verified(work: Work, expected: Expected, quantization: Quantization | None) -> Artifact:
    """Compares the written graph with PyTorch, and makes the artifact's document from the result."""
    work.progress.stage("verifying against PyTorch")
    verification, self_test = verify(work.open(), expected)
    return Artifact(
        **vars(work.description),
        quantization=quantization,
        external_data=work.file.external_data,
        verification=verification,
        self_test=self_test,
    )
