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
from vit_export.verify.reference import Answers, ReferenceModel, attention_weights
from vit_runtime.errors import UsageError, option


class TimmViT(LibraryModel):
    """timm's own model."""

    def __init__(self, library: Library, model: Any, *, projects: bool) -> None:
        """Takes a model whose head is a classifier, or with `projects` what makes the embedding."""
        super().__init__(library, model)
        self._projects = projects

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`.

        Attention weights are caught where timm hands them to dropout. Fused attention is off: it computes none.
        """
        model = self._model
        maps: list[torch.Tensor] = []
        pooling = None
        with self._library.at_work(), ExitStack() as hooks:
            for block in model.blocks if attention else ():
                block.attn.fused_attn = False
                hook = block.attn.attn_drop.register_forward_pre_hook(lambda _module, args: maps.append(args[0]))
                hooks.callback(hook.remove)
            features = model.forward_features(pictures)
            token = model.global_pool == "token"
            embedding = features[:, 0] if token else model.forward_head(features, pre_logits=True)
            logits = model.forward_head(features) if model.num_classes else None
            if self._projects and logits is not None:
                embedding, logits = logits, None
            if attention and model.attn_pool is not None:
                pooling = _pooling_weights(model.attn_pool, features)
        return Answers(embedding=embedding, logits=logits, attention=maps, pooling=pooling)


def _pooling_weights(pool: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Gives the attention of timm's `AttentionPoolLatent` (N, H, 1, S), which has no place to catch it."""

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], pool.num_heads, -1).transpose(1, 2)

    query, keys = pool.q(pool.latent), pool.kv(tokens).chunk(2, dim=-1)[0]
    return attention_weights(heads(query), heads(keys))


def from_timm(library: Library, files: Path, prepared: Prepared) -> tuple[ReferenceModel, LibraryPreparation]:
    """Makes the architecture that `config.json` or the file's name states, with local weights; downloads nothing."""
    timm, arch = library.module, prepared.architecture
    outputs = arch.classes or arch.projection  # timm calls both `head`
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
        overlay = {"file": str(files), "num_classes": outputs, "custom_load": False}
        theirs = timm.create_model(name, pretrained_cfg_overlay=overlay, num_classes=outputs, **options)
    if theirs.num_classes != outputs:
        raise CheckpointError(library.model, f"has {outputs} classes, by {library.name} {theirs.num_classes}")

    def prepare(photo: Image.Image) -> torch.Tensor:
        config = timm.data.resolve_data_config({}, pretrained_cfg=theirs.pretrained_cfg)
        prepared: torch.Tensor = timm.data.create_transform(**config)(photo)
        return prepared

    return TimmViT(library, theirs.eval(), projects=arch.projection > 0), LibraryPreparation(prepare=prepare)
