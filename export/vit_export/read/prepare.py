"""Decides once what a checkpoint leaves open and a user may want otherwise: size, preparation, names of classes.

All rules for options that depend on the model are here; rules that a request can break by itself are in
`vit_export.checks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vit_export.errors import CheckpointError
from vit_export.progress import Progress
from vit_export.read import assumed
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.finding import read_checkpoint
from vit_export.read.labels import check_labels, read_labels
from vit_export.read.picture_preparation import with_options
from vit_export.read.positions import at_size
from vit_export.read.state_dict import StateDict
from vit_export.request import IMAGENET_LABELS, ExportRequest
from vit_runtime.artifact import Architecture, Assumption, Head, Preprocessing, Source
from vit_runtime.errors import UsageError, option


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A checkpoint with everything decided: what a graph is written from, and what it is held to."""

    name: str
    source: Source
    files: Path | None
    """Path that a library could load the checkpoint from; see `Contents`."""
    architecture: Architecture
    preprocessing: Preprocessing
    assumptions: tuple[Assumption, ...]
    labels: tuple[str, ...] | None
    head: Head | None
    """Where the classes come from; None without classes."""
    state: StateDict
    """Weights in float32, under the graph's names; see `vit_export.read.canonical`."""


def read_and_prepare(request: ExportRequest, progress: Progress) -> Prepared:
    """Reads the checkpoint that a request names, and prepares it as the request asks.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever cannot be found, does not fit or is not supported.
    """
    # Labels come first: a wrong file of them should be found before anything is fetched.
    labels = None if request.labels is None else read_labels(request.labels)
    return prepare(read_checkpoint(request, progress), request, labels, progress)


def prepare(
    checkpoint: Checkpoint, request: ExportRequest, labels: tuple[str, ...] | None, progress: Progress
) -> Prepared:
    """Applies the user's options to what a reader has found, and only then calls `Checkpoint.read`.

    Args:
        checkpoint: what the files say.
        request: what the user wants.
        labels: class names of the user's own, as `request.labels` gives them.
        progress: told what was assumed because the checkpoint does not say it.

    Raises:
        UsageError: an option does not go with this checkpoint.
        LabelsError: there are more or fewer names than classes.
        CheckpointError: the checkpoint contradicts itself about the size, or its weights cannot be read or do not fit.
        DownloadError: its weights cannot be fetched.
    """
    own = checkpoint.architecture
    if request.heads is not None and checkpoint.heads_known_by is not None:
        raise UsageError(option("heads"), checkpoint.heads_known_by, "leave it out")
    if request.max_drop is not None and not own.classes and request.classes is None and request.examples is None:
        what = f"{checkpoint.name} has no classes, so no answers that change"
        raise UsageError(option("max_drop"), what, "leave it out")
    if request.labels is not None and labels is not None:
        check_labels(labels, own.classes, request.labels)
    size = _image_size(checkpoint, request)
    stated = checkpoint.preparation
    preprocessing = with_options(_prepared(checkpoint, request, size), request.preprocessing)
    assumptions = checkpoint.assumptions
    if stated.preset is not None:
        assumptions = (*assumptions, assumed.preprocessing(stated.preset, request.preprocessing))
    for line in _notes(checkpoint, request, preprocessing):
        progress.note(line)
    contents = checkpoint.read()
    state, architecture = contents.state, own
    if size != own.image_size:
        state, architecture = at_size(state, own, size, checkpoint.resizing)
    if contents.rotary is not None:
        state = state | contents.rotary(architecture.grid)
    return Prepared(
        name=checkpoint.name,
        source=contents.source,
        files=contents.files,
        architecture=architecture,
        preprocessing=preprocessing,
        assumptions=assumptions,
        labels=labels or checkpoint.labels,
        head=Head(origin="checkpoint", probabilities=checkpoint.probabilities) if architecture.classes else None,
        state=state,
    )


def _image_size(checkpoint: Checkpoint, request: ExportRequest) -> int:
    """Height and width of the pictures that the graph is to read.

    Raises:
        UsageError: patches do not fill a picture of the size asked for; the message offers the next sizes.
        CheckpointError: the checkpoint contradicts itself, or no model can read pictures of its size.
    """
    native, stated = checkpoint.architecture, checkpoint.preparation
    if request.image_size is None and stated.image_size != native.image_size and not checkpoint.takes_any_size:
        raise CheckpointError(
            checkpoint.where,
            f"is for pictures of {native.image_size}, and {stated.stated_in} prepares {stated.image_size}",
            f"say which with {option('image_size', native.image_size)} or {option('image_size', stated.image_size)}",
        )
    size, patch = request.image_size or stated.image_size, native.patch_size
    if size < patch or (size % patch and size != native.image_size):
        below = max(size // patch, 1) * patch
        what = f"{size} is no multiple of the patch size {patch}"
        raise UsageError(option("image_size"), what, f"take {below} or {below + patch}")
    try:
        replace(native, image_size=size)
    except ValueError as error:
        raise CheckpointError(checkpoint.where, f"{stated.stated_in}: {error}", "fetch it again") from error
    return size


def _prepared(checkpoint: Checkpoint, request: ExportRequest, image_size: int) -> Preprocessing:
    """Gives the preparation for pictures of one size.

    Raises:
        UsageError: no preparation is possible for the size asked for.
        CheckpointError: no preparation is possible as the checkpoint states it.
    """
    stated = checkpoint.preparation
    try:
        return stated.at(image_size)
    except (ValueError, OverflowError) as error:  # a whole number in JSON can be larger than any float
        if request.image_size is not None:
            what = f"{image_size} does not go with the preparation: {error}"
            raise UsageError(option("image_size"), what) from error
        what = f"{stated.stated_in} prepares pictures in no way that is possible: {error}"
        raise CheckpointError(checkpoint.where, what, "fetch it again") from error


def _notes(checkpoint: Checkpoint, request: ExportRequest, preprocessing: Preprocessing) -> Sequence[str]:
    """Gives the notes that tell the user what the checkpoint does not say."""
    notes = []
    if request.heads is None:
        notes += [
            f"a checkpoint does not say how many attention heads it has; using {assumption.value}"
            for assumption in checkpoint.assumptions
            if assumption.subject == "heads"
        ]
    if (preset := checkpoint.preparation.preset) is not None:
        notes.append(f"{preset.why}; using {preprocessing}")
    classes = checkpoint.architecture.classes
    own = request.classes is not None or request.examples is not None or request.labels is not None
    if checkpoint.usually_labelled and checkpoint.labels is None and classes and not own:
        hint = f" ({option('labels', IMAGENET_LABELS)} for ImageNet-1k's)" if classes == 1000 else ""
        notes.append(f"{checkpoint.where} names no classes; give {option('labels')}{hint}, or they go by number")
    return notes
