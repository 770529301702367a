"""What a text tower is made of: the encoder of CLIP or SigLIP that reads words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vit_runtime.artifact.architecture import Activation, Rotary
from vit_runtime.artifact.sizes import check_blocks, check_sizes

LARGEST_CONTEXT: Final = 4096
"""Most tokens of a text that a text tower reads."""
LARGEST_VOCABULARY: Final = 1 << 20
_SIZES: Final = {
    "context": (1, LARGEST_CONTEXT),
    "vocabulary": (1, LARGEST_VOCABULARY),
    "layers": (1, 1_000),
    "heads": (1, 1 << 16),
    "width": (1, 1 << 16),
    "mlp_width": (1, 1 << 18),
    "projection": (1, 1 << 16),
}
"""Least and most of each size, as for pictures."""

TextPooling = Literal["largest_token", "end_token", "last_token"]
"""Where the answer is read: at the first token of the largest number, at the first one of the number `end_token`, or at
the last token, which may be padding. The first two are CLIP's, in old and in newer configurations; the last is
SigLIP's."""


@dataclass(frozen=True, kw_only=True)
class TextArchitecture:
    """A text tower's sizes and its kind: blocks as a Vision Transformer's, a row of a table for each token in front."""

    context: int
    """Tokens of a text: shorter texts are padded, longer ones are cut."""
    vocabulary: int
    """Rows of the table of tokens."""
    layers: int
    heads: int
    width: int
    mlp_width: int
    layer_norm_eps: float
    activation: Activation
    causal: bool
    """Whether a token sees only itself and those in front of it."""
    pooling: TextPooling
    end_token: int | None
    """Number of the token that ends a text; set where `pooling` is "end_token"."""
    projection: int
    """Length of the embedding, which lies in one space with the pictures' embeddings."""

    def __post_init__(self) -> None:
        check_sizes(self, _SIZES)
        check_blocks(width=self.width, heads=self.heads, layer_norm_eps=self.layer_norm_eps)
        if (self.end_token is not None) != (self.pooling == "end_token"):
            raise ValueError(f"pooling {self.pooling} and key end_token do not go together")
        if self.end_token is not None and not 0 <= self.end_token < self.vocabulary:
            raise ValueError(f"end_token {self.end_token} is none of {self.vocabulary} tokens")

    @property
    def tokens(self) -> int:
        """Length of the token sequence, by the name that a Vision Transformer's has."""
        return self.context

    @property
    def prefix(self) -> int:
        """Tokens that stand for no part of the input: a text has none."""
        return 0

    @property
    def gated_mlp(self) -> bool:
        """Whether the MLP is gated: no text tower's is."""
        return False

    @property
    def rotary(self) -> Rotary:
        """Kind of rotary positions: text towers have a table instead."""
        return "none"
