"""transformers' own text tower as reference, for `--against library`: it reads the same files in its own way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import torch

from vit_export.errors import CheckpointError
from vit_export.verify.library_package import Library, LibraryModel, imported
from vit_export.verify.plain_text import TextReference

_CLASSES: Final = {"clip": "CLIPTextModelWithProjection", "siglip": "SiglipTextModel"}
"""The class that gives the embedding, by family; both take the files of the whole model, too."""
_UNUSED: Final = re.compile(r".*position_ids$")


class TransformersText(LibraryModel):
    """transformers' own model; it sees no mask of the padding, as its processors give none for these models."""

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `TextReference`."""
        with self._library.at_work():
            answer = self._model(input_ids=tokens)
            embedding: torch.Tensor = answer["text_embeds"] if "text_embeds" in answer else answer["pooler_output"]
        return embedding


def transformers_text(files: Path, family: str, where: str) -> TextReference:
    """Loads the text tower with transformers; downloads nothing, and runs no code of a repository.

    Raises:
        MissingDependencyError: transformers is not installed.
        CheckpointError: transformers does not load the checkpoint.
    """
    library: Library = imported("transformers", where)
    with library.at_work():
        theirs, report = getattr(library.module, _CLASSES[family]).from_pretrained(
            files, dtype=torch.float32, local_files_only=True, weights_only=True, output_loading_info=True
        )
        missing = sorted(name for name in report["missing_keys"] if not _UNUSED.search(name))
        if missing:  # transformers would make up values for them
            raise CheckpointError.mismatch(
                where, f"{library.possessive} {_CLASSES[family]}", missing=missing, unexpected=(), reshaped=()
            )
    return TransformersText(library, theirs.eval())
