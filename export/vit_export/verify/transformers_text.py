"""transformers' own text tower as reference, for `--against library`: it reads the same files in its own way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import torch

from vit_export.errors import CheckpointError
from vit_export.verify.library_package import Library, LibraryModel, imported

_CLASSES: Final = {
    "clip": "CLIPModel",
    "clip_text_model": "CLIPTextModelWithProjection",
    "siglip": "SiglipModel",
    "siglip_text_model": "SiglipTextModel",
}
"""The class that gives the embedding, by model type. A text model alone would not take the files of both towers: the
length of CLIP's embedding may be stated in one place and not in the other."""
_UNUSED: Final = re.compile(r".*position_ids$")


class TransformersText(LibraryModel):
    """transformers' own model; it sees no mask of the padding, as its processors give none for these models."""

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `TextReference`."""
        with self._library.at_work():
            both = hasattr(self._model, "get_text_features")
            answer = self._model.get_text_features(input_ids=tokens) if both else self._model(input_ids=tokens)
            if not isinstance(answer, torch.Tensor):  # as versions before 5 gave it
                answer = answer["text_embeds"] if "text_embeds" in answer else answer["pooler_output"]
        embedding: torch.Tensor = answer
        return embedding

    def scale_and_bias(self) -> tuple[float, float]:
        """What a picture's and a text's cosine are multiplied with, and what is added; only a whole model has them."""
        bias = getattr(self._model, "logit_bias", None)
        return float(self._model.logit_scale.detach().exp()), 0.0 if bias is None else float(bias.detach())


def transformers_text(files: Path, model_type: str, where: str) -> TransformersText:
    """Loads the text tower with transformers; downloads nothing, and runs no code of a repository.

    Raises:
        MissingDependencyError: transformers is not installed.
        CheckpointError: transformers does not load the checkpoint.
    """
    library: Library = imported("transformers", where)
    with library.at_work():
        theirs, report = getattr(library.module, _CLASSES[model_type]).from_pretrained(
            files, dtype=torch.float32, local_files_only=True, weights_only=True, output_loading_info=True
        )
        missing = sorted(name for name in report["missing_keys"] if not _UNUSED.search(name))
        if missing:  # transformers would make up values for them
            raise CheckpointError.mismatch(
                where, f"{library.possessive} {_CLASSES[model_type]}", missing=missing, unexpected=(), reshaped=()
            )
    return TransformersText(library, theirs.eval())
