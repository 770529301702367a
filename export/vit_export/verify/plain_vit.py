"""The Vision Transformer in plain PyTorch: the reference for families whose library an export does not need.

Tests compare it with transformers and timm on the same checkpoints. It shares nothing with the graph but the names of
the weights: class token and others are concatenated here, attention is PyTorch's, nothing is folded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from vit_export.names import block_name
from vit_export.verify.reference import Answers, attention_weights
from vit_runtime.artifact import Architecture, Reading


class PlainViT:
    """A Vision Transformer of any kind that `Architecture` describes."""

    reading: Reading = "vit-edge"

    def __init__(self, arch: Architecture, state: Mapping[str, torch.Tensor]) -> None:
        """Takes float32 weights under torchvision's names, and does not copy them; see `vit_export.read.canonical`."""
        self.name = f"a plain Vision Transformer, torch {torch.__version__}"
        self.arch = arch
        self._state = state

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`."""
        x = self._tokens(pictures)
        maps = []
        for layer in range(self.arch.layers):
            x, weights = self._block(x, block_name(layer), attention=attention)
            maps.append(weights)
        embedding, features = self._pooled(x)
        logits = self._linear(features, "heads.head") if self.arch.classes else None
        return Answers(embedding=embedding, logits=logits, attention=maps if attention else [])

    def _tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        arch, state = self.arch, self._state
        x = F.conv2d(pictures, state["conv_proj.weight"], state["conv_proj.bias"], stride=arch.patch_size)
        x = x.flatten(2).transpose(1, 2)
        prefix = []
        if arch.class_token:
            prefix.append(state["class_token"])
        if arch.distillation_token:
            prefix.append(state["distillation_token"])
        if arch.registers:
            prefix.append(state["register_tokens"])
        return (
            torch.cat([*(token.expand(len(x), -1, -1) for token in prefix), x], dim=1) + state["encoder.pos_embedding"]
        )

    def _block(self, x: torch.Tensor, key: str, *, attention: bool) -> tuple[torch.Tensor, torch.Tensor]:
        y, weights = self._attention(self._norm(x, f"{key}.ln_1"), f"{key}.self_attention", wanted=attention)
        x = x + y
        y = self._linear(self._norm(x, f"{key}.ln_2"), f"{key}.mlp.0")
        y = F.gelu(y, approximate="tanh" if self.arch.gelu == "tanh" else "none")
        return x + self._linear(y, f"{key}.mlp.3"), weights

    def _attention(self, x: torch.Tensor, key: str, *, wanted: bool) -> tuple[torch.Tensor, torch.Tensor]:
        packed = F.linear(x, self._state[f"{key}.in_proj_weight"], self._state[f"{key}.in_proj_bias"])
        query, keys, values = packed.reshape(*x.shape[:2], 3, self.arch.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        weights = attention_weights(query, keys) if wanted else y
        return self._linear(y, f"{key}.out_proj"), weights

    def _pooled(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives the embedding, and what the head reads."""
        arch = self.arch
        if arch.norm_after_pooling:
            mean = self._norm(x[:, arch.prefix :].mean(dim=1), "encoder.ln")
            return mean, mean
        x = self._norm(x, "encoder.ln")
        mean = x[:, arch.prefix :].mean(dim=1)
        if arch.pooling == "patch_mean":
            return mean, mean
        features = {
            "class_token": [x[:, 0]],
            "class_and_distillation_token": [x[:, 0], x[:, 1]],
            "class_token_and_patch_mean": [x[:, 0], mean],
        }[arch.pooling]
        return x[:, 0], torch.cat(features, dim=1)

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.arch.layer_norm_eps)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])
