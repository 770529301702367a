"""A checkpoint gets a head that is fitted to photos, seen by its own encoder in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vit_export.describing import description_of
from vit_export.heads.folder import ClassFolder
from vit_export.heads.learning import learn
from vit_export.progress import Progress
from vit_export.read.headless import headless
from vit_export.read.prepare import Prepared
from vit_export.request import ExportRequest
from vit_export.write.blueprint import Blueprint
from vit_export.write.graph import build_graph
from vit_export.write.model_file import ModelFile
from vit_export.write.weights import finite_weights
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.session import open_session
from vit_runtime.errors import option
from vit_runtime.files import blame, staging_folder
from vit_runtime.graph import Graph


def with_examples(
    prepared: Prepared, classes: Sequence[ClassFolder], request: ExportRequest, destination: Path, progress: Progress
) -> Prepared:
    """Gives a checkpoint with a head that is fitted to photos, in place of its own head and labels.

    The written float32 graph gives the embeddings, whatever the precision that is asked for.

    Raises:
        ExamplesError: too few photos of a class can be read.
        VitEdgeError: the encoder cannot be written beside `destination`, or cannot be run.
    """
    encoder = headless(prepared)
    plain = replace(request, precision="fp32", target="cpu", rollout=None)
    description = description_of(encoder, plain)
    blueprint = Blueprint(
        arch=encoder.architecture,
        preprocessing=encoder.preprocessing,
        weights=finite_weights(encoder.state, encoder.source.weights),
    )
    remedy = f"choose another {option('output')}"
    with blame(destination, remedy):
        destination.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(destination, remedy) as folder:
        file = ModelFile(folder, "encoder.onnx", destination)
        file.write_graph(build_graph(blueprint), written=lambda _bytes: None)
        file.close_graph()
        opened = open_session(file.path, provider="cpu", runs=None, facts=ModelFacts.of(description))
        with Graph(description, opened) as graph:
            root = Path(request.examples or "")
            learned = learn(classes, graph, root, progress, unknown=request.unknown, own_file=False)
    return replace(
        encoder,
        architecture=learned.on(encoder.architecture),
        labels=learned.labels,
        head=learned.head,
        state=encoder.state | {name: torch.from_numpy(values) for name, values in learned.weights().items()},
    )
