"""transformers' own CLIP or SigLIP as reference: its picture tower, by itself or beside the texts' tower."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch

from vit_export.verify.library_package import LibraryModel
from vit_export.verify.reference import Answers


class TransformersTower(LibraryModel):
    """transformers' own model, with eager attention: other kinds give no weights."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`.

        The embedding is what transformers compares with texts, or the pooled output of a tower by itself. Where it
        gives neither, the tokens are averaged. The probe's attention is caught where PyTorch's layer gives it, which
        would average the heads if it was not told otherwise.
        """
        model = self._model
        tower = getattr(model, "vision_model", model)
        options: dict[str, Any] = {"interpolate_pos_encoding": True}  # changes nothing at the checkpoint's own size
        if attention:
            options["output_attentions"] = True
        tokens: list[torch.Tensor] = []
        gathered: list[torch.Tensor] = []
        with self._library.at_work(), ExitStack() as hooks:
            found = tower.register_forward_hook(lambda _module, _args, out: tokens.append(out.last_hidden_state))
            hooks.callback(found.remove)
            if attention and hasattr(tower, "head"):
                layer = tower.head.attention
                by_head = layer.register_forward_pre_hook(
                    lambda _module, args, kwargs: (args, kwargs | {"average_attn_weights": False}), with_kwargs=True
                )
                hooks.callback(by_head.remove)
                hooks.callback(layer.register_forward_hook(lambda _m, _a, out: gathered.append(out[1])).remove)
            answer = getattr(model, "get_image_features", model)(pictures, **options)
            maps = list(answer.attentions) if attention else []
            embedding = getattr(answer, "image_embeds", getattr(answer, "pooler_output", None))
        pooled = embedding is not None
        return Answers(
            embedding=embedding if pooled else tokens[0].mean(dim=1),
            logits=getattr(answer, "logits", None),
            attention=maps,
            pooling=gathered[0] if pooled and gathered else None,
        )
