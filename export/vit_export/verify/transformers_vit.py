"""transformers' own model as reference."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from vit_export.errors import CheckpointError
from vit_export.read.prepare import Prepared
from vit_export.read.repository import CONFIG, Folder, read_json
from vit_export.verify.library_package import Library, LibraryModel, Prepare
from vit_export.verify.reference import Answers, ReferenceModel
from vit_export.verify.transformers_tower import TransformersTower

_UNUSED: Final = re.compile(r"(^|\.)(pooler\.|.*mask_token$)")
"""Weights that a checkpoint may lack: no answer depends on them."""
_RESIZED_WHEN_ASKED: Final = ("vit", "deit")
"""Model types of transformers that take pictures of another size only when told to."""
_TOWERS: Final = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")
"""Model types of transformers with a picture tower for texts."""


class TransformersViT(LibraryModel):
    """transformers' own model, with eager attention: other kinds give no weights."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`.

        A model with a head hands out its logits only. The class token is caught behind the encoder, whose last layer
        is the LayerNorm.
        """
        options: dict[str, Any] = {"output_attentions": True} if attention else {}
        if self._model.config.model_type in _RESIZED_WHEN_ASKED:
            options["interpolate_pos_encoding"] = True  # changes nothing at the checkpoint's own size
        tokens: list[torch.Tensor] = []
        with self._library.at_work(), ExitStack() as hooks:
            hook = self._model.base_model.register_forward_hook(
                lambda _module, _args, output: tokens.append(output.last_hidden_state[:, 0])
            )
            hooks.callback(hook.remove)
            answer = self._model(pictures, **options)
            maps = list(answer.attentions) if attention else []
        return Answers(embedding=tokens[0], logits=getattr(answer, "logits", None), attention=maps)


def from_transformers(library: Library, files: Path, prepared: Prepared) -> tuple[ReferenceModel, Prepare]:
    """Loads the class that `config.json` names; downloads nothing, and runs no code of a repository."""
    del prepared  # transformers reads the files by itself
    (architecture,) = (read_json(Folder(files), CONFIG) or {})["architectures"]
    theirs, report = getattr(library.module, architecture).from_pretrained(
        files,
        dtype=torch.float32,
        attn_implementation="eager",
        local_files_only=True,
        weights_only=True,
        output_loading_info=True,
    )
    missing = sorted(name for name in report["missing_keys"] if not _UNUSED.search(name))
    if missing:  # transformers would make up values for them
        raise CheckpointError.mismatch(
            library.model, f"{library.possessive} {architecture}", missing=missing, unexpected=(), reshaped=()
        )

    def prepare(photo: Image.Image) -> torch.Tensor:
        # Resample with Pillow: the default, torchvision on tensors, gives other bytes.
        processor = library.module.AutoImageProcessor.from_pretrained(
            files, backend="pil", local_files_only=True, trust_remote_code=False
        )
        prepared: torch.Tensor = processor(images=photo, return_tensors="pt")["pixel_values"][0]
        return prepared

    reference = TransformersTower if theirs.config.model_type in _TOWERS else TransformersViT
    return reference(library, theirs.eval()), prepare
