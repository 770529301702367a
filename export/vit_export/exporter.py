"""An export from request to file: load, ask PyTorch, write, verify, publish."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from vit_export.checks import checked
from vit_export.errors import CheckpointError, VerificationError
from vit_export.int8 import model as int8
from vit_export.int8.calibration_pictures import CalibrationPictures, read_calibration
from vit_export.int8.keep_float import fewest
from vit_export.progress import Progress, Silent
from vit_export.read import finding as sources
from vit_export.read.labels import check_labels, read_labels
from vit_export.read.loaded import LoadedModel
from vit_export.request import ExportRequest
from vit_export.verify import comparison as verify
from vit_export.verify.library import library_reference
from vit_export.write.builder import GraphBuilder
from vit_export.write.graph import build_graph
from vit_export.write.model_file import ModelFile, new_model_file
from vit_export.write.targets import float_lowering, not_checked
from vit_export.write.tensors import Weights
from vit_runtime import __version__
from vit_runtime.artifact import FORMAT_VERSION, Architecture, Artifact, Output, codec
from vit_runtime.devices.session import Provider, import_onnxruntime, open_session
from vit_runtime.errors import OutputFileError, UsageError, one_line, option
from vit_runtime.files import blame
from vit_runtime.model import ViT

DEFAULT_FOLDER: Final = Path("models")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A finished export."""

    path: Path
    artifact: Artifact

    @property
    def bytes(self) -> int:
        """Size on disk, with the weights in a file of their own."""
        return self.path.stat().st_size + (self.artifact.external_data.bytes if self.artifact.external_data else 0)


def export(request: ExportRequest, progress: Progress | None = None) -> Exported:
    """Writes a verified artifact.

    Raises:
        VitEdgeError: of `vit_export.errors` and `vit_runtime.errors`; no file is left then.
    """
    progress = progress or Silent()
    request = checked(request)
    import_onnxruntime()  # missing, it should be missed before the work, not after
    destination = output_path(request)
    own_labels = None if request.labels is None else read_labels(request.labels)
    model = sources.load(request, progress)
    if request.max_drop is not None and not model.architecture.classes:
        raise UsageError(option("max_drop"), f"{model.name} has no classes, so no answers that change", "leave it out")
    if request.labels is not None and own_labels is not None:
        check_labels(own_labels, model.architecture.classes, request.labels)
    pictures = None
    if request.calibrate is not None:
        pictures = read_calibration(request.calibrate, model.preprocessing, progress)

    expected = _ask_reference(request, model, progress)
    weights = Weights(model.state, model.source.weights)
    draft = Artifact(
        format_version=FORMAT_VERSION,
        producer=f"vit-edge {__version__}",
        model=model.name,
        source=model.source,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        assumptions=model.assumptions,
        labels=own_labels or model.labels,
        outputs=_outputs(model.architecture, request),
        rollout=request.rollout,
        precision=request.precision,
        target=request.target,
        quantization=None,
        external_data=None,
        verification=None,
        self_test=None,
    )
    _check_document(draft)
    del model  # what is not needed any more goes before onnxruntime loads weights of its own
    with new_model_file(destination) as file:
        work = _Work(file=file, expected=expected, progress=progress)
        if pictures is not None:
            artifact = _write_static(work, request, draft, weights, pictures)
        elif request.precision == "int8":
            artifact = _write_dynamic(work, request, draft, weights)
        else:
            lowering = float_lowering(request)
            graph = build_graph(draft.architecture, draft.preprocessing, weights, lowering, draft.rollout)
            del weights
            work.write(graph)
            del graph  # it holds PyTorch's weights
            artifact = work.verified(draft)
        file.write_metadata(artifact)
    return Exported(path=destination, artifact=artifact)


def _check_document(draft: Artifact) -> None:
    """Sees to it that readers take what a checkpoint's own words have become, before the work.

    Raises:
        CheckpointError: a name, label or licence is no text.
    """
    try:
        codec.decode(Artifact, json.loads(draft.to_json().encode()))
    except (codec.SchemaError, UnicodeEncodeError) as error:
        what = f"has words that no artifact can hold ({one_line(error)})"
        raise CheckpointError(draft.source.weights, what, "change them in its files, or rename it") from error


def _ask_reference(request: ExportRequest, model: LoadedModel, progress: Progress) -> verify.Reference:
    """PyTorch's answers; a library's own model is let go with them."""
    reference = model.reference if request.against is None else library_reference(request, model, progress)
    progress.stage("asking PyTorch for reference answers")
    return verify.ask_reference(reference, model.architecture, model.preprocessing, request.rollout)


def _outputs(arch: Architecture, request: ExportRequest) -> tuple[Output, ...]:
    """What the graph gives."""
    logits: tuple[Output, ...] = ("logits",) if arch.classes else ()
    rollout: tuple[Output, ...] = ("rollout",) if request.rollout is not None else ()
    return (*logits, "embedding", *rollout)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A file under construction, and what it is held to."""

    file: ModelFile
    expected: verify.Reference
    progress: Progress

    def write(self, graph: GraphBuilder) -> None:
        self.progress.stage("writing weights", total=sum(weight.nbytes for weight in graph.weights))
        self.file.write_graph(graph, written=self.progress.advance)

    def load(self, draft: Artifact) -> ViT:
        """The written file as a device would load it; metadata as far as it is known."""
        draft = replace(draft, external_data=self.file.external_data)
        self.file.write_metadata(draft)
        provider: Provider = "cpu" if draft.target == "cpu" else "auto"
        return ViT(draft, open_session(self.file.path, provider=provider, int8=draft.precision == "int8"))

    def verified(self, draft: Artifact, runtime: ViT | None = None) -> Artifact:
        """Compares with PyTorch, and completes the artifact with the result."""
        self.progress.stage("verifying against PyTorch")
        runtime = runtime or self.load(draft)
        remark = not_checked(draft, runtime.provider)
        verification, self_test = verify.verify(runtime, self.expected, remark=remark)
        return replace(draft, external_data=self.file.external_data, verification=verification, self_test=self_test)


def _write_dynamic(work: _Work, request: ExportRequest, draft: Artifact, weights: Weights) -> Artifact:
    with TemporaryDirectory(dir=work.file.path.parent) as folder:
        model = int8.dynamic(
            draft.architecture,
            draft.preprocessing,
            weights,
            rollout=draft.rollout,
            folder=Path(folder),
            progress=work.progress,
        )
    kept = model.kept(request.keep_float)
    work.write(model.graph(kept))
    return work.verified(replace(draft, quantization=model.facts(kept, None, None)))


def _write_static(
    work: _Work, request: ExportRequest, draft: Artifact, weights: Weights, pictures: CalibrationPictures
) -> Artifact:
    progress = work.progress
    with TemporaryDirectory(dir=work.file.path.parent) as folder:
        model, answers = int8.calibrate(
            draft.architecture,
            draft.preprocessing,
            weights,
            rollout=draft.rollout,
            target=request.target,
            pictures=pictures,
            folder=Path(folder),
            progress=progress,
        )
    asked = model.kept(request.keep_float)
    others = [layer for layer in model.worst() if layer not in asked]
    trials: dict[int, Artifact] = {}

    def attempt(count: int) -> bool:
        """Writes the file with so many more layers in float; whether its answers change seldom enough."""
        kept = tuple(layer for layer in model.layers if layer in asked or layer in others[:count])
        work.write(model.graph(kept))
        runtime = work.load(replace(draft, quantization=model.facts(kept, pictures, None)))
        agreement = int8.agreement(runtime, pictures, answers, progress)
        trials[count] = replace(draft, quantization=model.facts(kept, pictures, agreement))
        if request.max_drop is None or agreement.same_top1 is None:
            return True
        changed = pictures.facts.pictures - agreement.same_top1
        progress.note(f"{len(kept)} layers in float: {changed} of {pictures.facts.pictures} answers change")
        return 100 * changed <= request.max_drop * pictures.facts.pictures

    count = fewest(len(others), attempt)
    if count is None:
        raise VerificationError(draft.model, "changes its answers even with all layers in float", "export it in fp32")
    if count != list(trials)[-1]:
        attempt(count)  # the search ended with another
    return work.verified(trials[count])


def output_path(request: ExportRequest) -> Path:
    """Where the file goes; an output whose name does not end in .onnx is a folder.

    Raises:
        OutputFileError: it exists and may not be replaced, or nothing can be written there.
    """
    precision = "" if request.precision == "fp32" else f".{request.precision}"
    target = "" if request.target == "cpu" else f".{request.target}"
    file_name = f"{sources.model_name(request.name)}{precision}{target}.onnx"
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
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputFileError(path, f"cannot be written ({folder} takes no files)", elsewhere)
