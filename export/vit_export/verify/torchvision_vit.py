"""torchvision's own model as reference, for checkpoints of its family."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import torch
import torchvision
from torchvision.models import VisionTransformer

from vit_export.read.torchvision_state import empty_model
from vit_export.verify.reference import Answers, attention_weights
from vit_runtime.artifact import Architecture, Reading


def torchvision_model(arch: Architecture, state: Mapping[str, torch.Tensor]) -> VisionTransformer:
    """Makes the model with given weights, which it shares and does not copy."""
    model = empty_model(arch if arch.classes else replace(arch, classes=1))
    if not arch.classes:
        model.heads = torch.nn.Sequential()  # gives what it reads
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(requires_grad=False)


class TorchvisionViT:
    """torchvision's own model.

    Its sizes and the names of its weights are torchvision's. What a checkpoint does not say, such as the number of
    heads, is listed in the artifact's assumptions.
    """

    reading: Reading = "library"

    def __init__(self, model: VisionTransformer) -> None:
        self.name = f"torchvision {torchvision.__version__}, torch {torch.__version__}"
        self._model = model

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`.

        torchvision's model gives logits alone; hooks catch the rest. The head's input is the class token after the
        final LayerNorm. Attention weights are computed from attention's input.
        """
        embeddings: list[torch.Tensor] = []
        maps: list[torch.Tensor] = []
        with ExitStack() as hooks:
            hooks.callback(
                self._model.heads.register_forward_pre_hook(lambda _, args: embeddings.append(args[0])).remove
            )
            for block in self._model.encoder.layers if attention else ():
                hook = block.self_attention.register_forward_pre_hook(
                    lambda module, args: maps.append(_packed_attention(module, args[0]))
                )
                hooks.callback(hook.remove)
            logits = self._model(pictures)
        return Answers(embedding=embeddings[0], logits=logits if len(self._model.heads) else None, attention=maps)


def _packed_attention(module: torch.nn.MultiheadAttention, x: torch.Tensor) -> torch.Tensor:
    """The weights (N, H, S, S) that PyTorch's attention gives its input (N, S, D)."""
    packed = torch.nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias)
    query, keys, _ = packed.reshape(*x.shape[:2], 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
    return attention_weights(query, keys)
