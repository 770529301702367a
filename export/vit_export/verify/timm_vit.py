"""timm's own model as reference."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vit_export.errors import CheckpointError
from vit_export.read.prepare import Prepared
from vit_export.verify.library_package import Library, LibraryModel, LibraryPreparation
from vit_export.verify.reference import Answers, ReferenceModel
from vit_runtime.errors import UsageError, option


class TimmViT(LibraryModel):
    """timm's own model."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`.

        Attention weights are caught where timm hands them to dropout. Fused attention is off: it computes none.
        """
        model = self._model
        maps: list[torch.Tensor] = []
        with self._library.at_work(), ExitStack() as hooks:
            for block in model.blocks if attention else ():
                block.attn.fused_attn = False
                hook = block.attn.attn_drop.register_forward_pre_hook(lambda _module, args: maps.append(args[0]))
                hooks.callback(hook.remove)
            features = model.forward_features(pictures)
            token = model.global_pool == "token"
            embedding = features[:, 0] if token else model.forward_head(features, pre_logits=True)
            logits = model.forward_head(features) if model.num_classes else None
        return Answers(embedding=embedding, logits=logits, attention=maps)


def from_timm(library: Library, files: Path, prepared: Prepared) -> tuple[ReferenceModel, LibraryPreparation]:
    """Makes the architecture that `config.json` or the file's name states, with local weights; downloads nothing."""
    timm, arch = library.module, prepared.architecture
    # Without `img_size` timm would resample positions to its default size, unless a configuration has another.
    options: dict[str, Any] = {"pretrained": True, "img_size": arch.image_size}
    if files.is_dir():
        theirs = timm.create_model(f"local-dir:{files}", **options)
    else:
        name = files.name.partition(".")[0]
        if not timm.is_model(name):
            raise UsageError(
                option("against", "library"),
                f"timm cannot know what {files.name} is: it has no architecture '{name}'",
                f"call the file as its architecture (vit_base_patch16_224{files.suffix}), or leave the option out",
            )
        # With `file` timm asks no network. It would leave out a head with another number than `num_classes`.
        # `custom_load` is for the format of the weights that timm would download.
        overlay = {"file": str(files), "num_classes": arch.classes, "custom_load": False}
        theirs = timm.create_model(name, pretrained_cfg_overlay=overlay, num_classes=arch.classes, **options)
    if theirs.num_classes != arch.classes:
        raise CheckpointError(library.model, f"has {arch.classes} classes, by {library.name} {theirs.num_classes}")

    def prepare(photo: Image.Image) -> torch.Tensor:
        config = timm.data.resolve_data_config({}, pretrained_cfg=theirs.pretrained_cfg)
        prepared: torch.Tensor = timm.data.create_transform(**config)(photo)
        return prepared

    return TimmViT(library, theirs.eval()), LibraryPreparation(prepare=prepare)
