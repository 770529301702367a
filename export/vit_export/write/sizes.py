"""The sizes and kinds that encoder blocks depend on: a Vision Transformer's, or a text tower's."""

from __future__ import annotations

from typing import Protocol

from vit_runtime.artifact import Activation, Rotary


class Sizes(Protocol):
    """What `Architecture` and `TextArchitecture` have in common, under the same names."""

    @property
    def tokens(self) -> int:
        """Length of the token sequence."""

    @property
    def prefix(self) -> int:
        """Tokens in front, which have no rotary position."""

    @property
    def width(self) -> int:
        """Width of a token."""

    @property
    def heads(self) -> int:
        """Attention heads."""

    @property
    def mlp_width(self) -> int:
        """Width of the MLP's hidden layer."""

    @property
    def layer_norm_eps(self) -> float:
        """What LayerNorm adds to a variance."""

    @property
    def activation(self) -> Activation:
        """The MLP's function."""

    @property
    def gated_mlp(self) -> bool:
        """Whether the MLP's hidden layer is a product of two."""

    @property
    def rotary(self) -> Rotary:
        """Kind of rotary positions."""

    @property
    def causal(self) -> bool:
        """Whether a token sees only itself and those in front of it."""
