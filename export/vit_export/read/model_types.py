"""Which reader a model of transformers is for, by the model type that its `config.json` states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vit_export.errors import CheckpointError
from vit_export.progress import Progress
from vit_export.read import clip, huggingface, siglip
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.repository import CONFIG, Repository

_READERS: Final[Mapping[str, Callable[[Repository, Mapping[str, Any], Progress], Checkpoint]]] = {
    model_type: reader.read_repository for reader in (huggingface, clip, siglip) for model_type in reader.MODEL_TYPES
}
_OF_TEXTS: Final = ("reads texts, no pictures", "give the folder of the whole model, or of its picture tower")
_NAFLEX: Final = (
    "reads pictures of any proportions (NaFlex), which is not supported",
    "take a checkpoint for pictures of one size, such as google/siglip2-base-patch16-256",
)
_REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "clip_text_model": _OF_TEXTS,
    "siglip_text_model": _OF_TEXTS,
    "siglip2_text_model": _OF_TEXTS,
    "siglip2": _NAFLEX,
    "siglip2_vision_model": _NAFLEX,
}
"""Model types near those that are supported: what is wrong with each, and what to do."""


def read_repository(repository: Repository, config: Mapping[str, Any], progress: Progress) -> Checkpoint:
    """Reads a model as its files describe it.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    model_type = str(config["model_type"])
    if model_type in _READERS:
        return _READERS[model_type](repository, config, progress)
    what, remedy = _REFUSED.get(model_type, ("is not supported", f"supported are {', '.join(_READERS)}"))
    raise CheckpointError(f"{repository.where}/{CONFIG}", f"model type '{model_type}' {what}", remedy)
