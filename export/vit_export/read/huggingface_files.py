"""What the files of a model of transformers state, whatever the family: preparation of pictures, and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vit_export.progress import Progress
from vit_export.read.canonical import on_paper
from vit_export.read.checkpoint import Contents
from vit_export.read.picture_preparation import Preparation, Preset, in_proportion
from vit_export.read.processor_config import FILE as PROCESSOR
from vit_export.read.processor_config import WHOLE, preset, read_processor
from vit_export.read.repository import Repository, folder_of, licence, read_json, read_weights
from vit_export.read.state_dict import StateDict
from vit_runtime.artifact import Source


def preparation(repository: Repository, model_type: str, image_size: int) -> Preparation:
    """Gives the preparation in the image processor's file, or else the family's usual one.

    Raises:
        VitEdgeError: one of `vit_export.errors`: a file cannot be read, or describes what the runtime does not do.
    """
    document, file = read_json(repository, PROCESSOR), PROCESSOR
    if document is None:  # transformers 5 saves a processor of pictures and texts as one file
        whole, file = read_json(repository, WHOLE) or {}, WHOLE
        document = whole.get("image_processor")
    if isinstance(document, Mapping):
        return in_proportion(read_processor(document, model_type, f"{repository.where}/{file}"), file)
    usual = Preset(name="the family's usual preparation", why=f"there is no {PROCESSOR}")
    return in_proportion(preset(model_type, image_size, repository.where), PROCESSOR, usual)


def contents_of(
    repository: Repository,
    convert: Callable[[StateDict], StateDict],
    progress: Progress,
    rotary: Callable[[int], StateDict] | None = None,
) -> Contents:
    """Reads the weights.

    Args:
        repository: where they are.
        convert: gives them the graph's names, and raises for what does not fit.
        progress: told which file is read.
        rotary: see `Contents`.

    Raises:
        VitEdgeError: one of `vit_export.errors`: there are no weights, or they do not fit.
    """
    state, digest = read_weights(repository, progress)
    convert(on_paper(state))
    terms = licence(repository)
    source = Source(family="huggingface", weights=repository.source, sha256=digest, licence=terms, seed=None)
    return Contents(source=source, files=folder_of(repository), state=convert(state), rotary=rotary)
