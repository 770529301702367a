"""What is known of an artifact before its graph is written and measured."""

from __future__ import annotations

import json

from vit_export.errors import CheckpointError
from vit_export.read.prepare import Prepared
from vit_export.request import ExportRequest
from vit_runtime import __version__
from vit_runtime.artifact import FORMAT_VERSION, Description, Output, codec
from vit_runtime.errors import one_line


def description_of(prepared: Prepared, request: ExportRequest) -> Description:
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
        head=prepared.head,
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
