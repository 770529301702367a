"""An export from request to file: load, ask PyTorch, write, verify, publish."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from vit_export import verify
from vit_export.graph import build_graph
from vit_export.labels import check_labels, read_labels
from vit_export.progress import Progress, Silent
from vit_export.request import RANDOM_WEIGHTS, ExportRequest
from vit_export.sources import torchvision
from vit_export.tensors import Weights
from vit_export.write import ModelFile, new_model_file
from vit_runtime.artifact import FORMAT_VERSION, Artifact
from vit_runtime.errors import OutputFileError, UsageError
from vit_runtime.model import ViT
from vit_runtime.session import import_onnxruntime, open_session

DEFAULT_FOLDER: Final = Path("models")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A finished export."""

    path: Path
    artifact: Artifact


def export(request: ExportRequest, progress: Progress | None = None) -> Exported:
    """Writes a verified artifact.

    Raises:
        VitEdgeError: of `vit_export.errors` and `vit_runtime.errors`; no file is left then.
    """
    progress = progress or Silent()
    if request.seed is not None and request.weights != RANDOM_WEIGHTS:
        raise UsageError("--seed", "is for random weights", f"add --weights {RANDOM_WEIGHTS}, or leave it out")
    import_onnxruntime()  # missing, it should be missed before the work, not after
    destination = output_path(request)
    own_labels = None if request.labels is None else read_labels(request.labels)
    model = torchvision.load(request, progress)
    if request.labels is not None and own_labels is not None:
        check_labels(own_labels, model.architecture.classes, request.labels)

    progress.stage("asking PyTorch for reference answers")
    expected = verify.ask_reference(model.reference, model.preprocessing)

    draft = Artifact(
        format_version=FORMAT_VERSION,
        producer=f"vit-edge {version('vit-edge')}",
        model=model.name,
        source=model.source,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        labels=own_labels or model.labels,
        outputs=("logits", "embedding"),
        precision="fp32",
        external_data=None,
        verification=None,
        self_test=None,
    )
    with new_model_file(destination) as file:
        _write_graph(file, model, progress)
        del model  # PyTorch's weights go before onnxruntime loads its own
        artifact = _verified(file, replace(draft, external_data=file.external_data), expected, progress)
        file.write_metadata(artifact)
    return Exported(path=destination, artifact=artifact)


def output_path(request: ExportRequest) -> Path:
    """Where the file goes; an output whose name does not end in .onnx is a folder.

    Raises:
        OutputFileError: it exists and may not be replaced, or nothing can be written there.
    """
    file_name = f"{Path(request.model).stem}.onnx"
    path = request.output or DEFAULT_FOLDER
    if path.suffix != ".onnx":
        path /= file_name
    for file in (path, path.with_name(f"{path.name}.data")):
        if file.is_dir():
            raise OutputFileError(file, "is a folder", "choose another --output")
        if file.exists() and not request.force:
            raise OutputFileError(file, "exists already", "add --force to replace it, or choose another --output")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputFileError(path, f"cannot be written ({folder} takes no files)", "choose another --output")
    return path


def _write_graph(file: ModelFile, model: torchvision.LoadedModel, progress: Progress) -> None:
    weights = Weights(model.reference.state_dict(), model.source.weights)
    graph = build_graph(model.architecture, model.preprocessing, weights)
    progress.stage("writing weights", total=sum(weight.nbytes for weight in graph.weights))
    file.write_graph(graph, written=progress.advance)


def _verified(file: ModelFile, draft: Artifact, expected: verify.Reference, progress: Progress) -> Artifact:
    """Loads the written file as a device would, compares, and completes the artifact with the result."""
    progress.stage("verifying against PyTorch")
    file.write_metadata(draft)
    runtime = ViT(draft, open_session(file.path, provider="cpu"))
    verification = verify.verify(runtime, expected)
    return replace(
        draft,
        verification=verification,
        self_test=verify.self_test(expected, draft.preprocessing, verification),
    )
