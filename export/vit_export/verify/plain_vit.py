"""The Vision Transformer in plain PyTorch: the reference for families whose library an export does not need.

Tests compare it with transformers and timm on the same checkpoints. It shares nothing with the graph but the names of
the weights: class token and others are concatenated here, attention is PyTorch's, nothing is folded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from vit_export.names import block_name
from vit_export.verify.reference import Answers, attention_weights
from vit_runtime.artifact import Architecture, Reading

ACTIVATIONS: Final[Mapping[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "erf": F.gelu,
    "tanh": partial(F.gelu, approximate="tanh"),
    "quick": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
}


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
        arch = self.arch
        x = self._tokens(pictures)
        if arch.norm_before_blocks:
            x = self._norm(x, "encoder.ln_pre")
        maps = []
        for layer in range(arch.layers):
            x, weights = self._block(x, block_name(layer), attention=attention)
            maps.append(weights)
        pooling = None
        if arch.pooling == "attention":
            embedding, pooling = self._gathered(self._norm(x, "encoder.ln"))
            features = embedding
        else:
            embedding, features = self._pooled(x)
        if arch.projection:
            embedding = features = self._linear(features, "projection")
        if arch.normalised_head:
            features = F.normalize(features, dim=-1, eps=0.0)
        logits = self._linear(features, "heads.head") if arch.classes else None
        kept = maps if attention else []
        return Answers(embedding=embedding, logits=logits, attention=kept, pooling=pooling if attention else None)

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
        return x + self._mlp(self._norm(x, f"{key}.ln_2"), f"{key}.mlp", gated=self.arch.gated_mlp), weights

    def _mlp(self, x: torch.Tensor, key: str, *, gated: bool = False) -> torch.Tensor:
        hidden = self._linear(x, f"{key}.0")
        activation = ACTIVATIONS[self.arch.activation]
        y = activation(self._linear(x, f"{key}.gate")) * hidden if gated else activation(hidden)
        return self._linear(y, f"{key}.3")

    def _attention(self, x: torch.Tensor, key: str, *, wanted: bool) -> tuple[torch.Tensor, torch.Tensor]:
        packed = F.linear(x, self._state[f"{key}.in_proj_weight"], self._state[f"{key}.in_proj_bias"])
        query, keys, values = packed.reshape(*x.shape[:2], 3, self.arch.heads, -1).permute(2, 0, 3, 1, 4)
        if self.arch.rotary != "none":
            query, keys = self._rotated(query, key), self._rotated(keys, key)
        y = F.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        weights = attention_weights(query, keys) if wanted else y
        return self._linear(y, f"{key}.out_proj"), weights

    def _rotated(self, x: torch.Tensor, key: str) -> torch.Tensor:
        """Turns each head's points (a, b) by their angles: (N, H, S, K)."""
        table = "encoder.rotary" if self.arch.rotary == "shared" else f"{key}.rotary"
        angle = torch.complex(self._state[f"{table}.cos"], self._state[f"{table}.sin"])  # (S, K/2) or (H, S, K/2)
        a, b = x.chunk(2, dim=-1)
        turned = torch.complex(a, b) * angle
        return torch.cat([turned.real, turned.imag], dim=-1)

    def _gathered(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives what the probe gathers from all tokens, (N, D), and its attention, (N, H, 1, S)."""
        state, key = self._state, "pool.self_attention"
        projections = zip(state[f"{key}.in_proj_weight"].chunk(3), state[f"{key}.in_proj_bias"].chunk(3), strict=True)
        query, keys, values = (
            F.linear(tokens, *layer).reshape(*tokens.shape[:2], self.arch.heads, -1).transpose(1, 2)
            for tokens, layer in zip((state["pool.probe"], x, x), projections, strict=True)
        )
        weights = attention_weights(query, keys)
        y = self._linear((weights @ values).transpose(1, 2).flatten(2), f"{key}.out_proj")[:, 0]
        return y + self._mlp(self._norm(y, "pool.ln"), "pool.mlp"), weights

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
