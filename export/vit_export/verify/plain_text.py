"""The text tower of CLIP or SigLIP in plain PyTorch: the reference where `--against library` is not asked for.

Tests compare it with transformers. As `plain_vit` it shares nothing with the graph but the names of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from vit_export.names import block_name
from vit_export.verify.plain_vit import ACTIVATIONS
from vit_runtime.artifact import Reading, TextArchitecture


class TextReference(Protocol):
    """A text tower in PyTorch that exports are compared with."""

    name: str
    """Packages that the model comes from, with their versions."""
    reading: Reading
    """Whose code read the model's checkpoint."""

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Gives embeddings (N, E) of tokens int64 (N, S); is called in inference mode."""


class PlainText:
    """A text tower of any kind that `TextArchitecture` describes."""

    reading: Reading = "vit-edge"

    def __init__(self, arch: TextArchitecture, state: Mapping[str, torch.Tensor]) -> None:
        """Takes float32 weights under the graph's names, and does not copy them; see `vit_export.read.text_tower`."""
        self.name = f"a plain text tower, torch {torch.__version__}"
        self.arch = arch
        self._state = state

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `TextReference`."""
        arch, state = self.arch, self._state
        x = F.embedding(tokens, state["token_embedding"]) + state["encoder.pos_embedding"]
        for layer in range(arch.layers):
            x = self._block(x, block_name(layer))
        x = self._norm(x, "encoder.ln")
        return self._linear(x[torch.arange(len(x)), self._answer(tokens)], "projection")

    def _answer(self, tokens: torch.Tensor) -> torch.Tensor:
        """The place (N,) of the token that the answer is read from."""
        arch = self.arch
        if arch.pooling == "last_token":
            return torch.full((len(tokens),), arch.context - 1)
        marks = tokens if arch.end_token is None else (tokens == arch.end_token).int()
        return marks.argmax(dim=-1)

    def _block(self, x: torch.Tensor, key: str) -> torch.Tensor:
        x = x + self._attention(self._norm(x, f"{key}.ln_1"), f"{key}.self_attention")
        hidden = ACTIVATIONS[self.arch.activation](self._linear(self._norm(x, f"{key}.ln_2"), f"{key}.mlp.0"))
        return x + self._linear(hidden, f"{key}.mlp.3")

    def _attention(self, x: torch.Tensor, key: str) -> torch.Tensor:
        packed = F.linear(x, self._state[f"{key}.in_proj_weight"], self._state[f"{key}.in_proj_bias"])
        query, keys, values = packed.reshape(*x.shape[:2], 3, self.arch.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, keys, values, is_causal=self.arch.causal)
        return self._linear(y.transpose(1, 2).flatten(2), f"{key}.out_proj")

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.arch.layer_norm_eps)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])
