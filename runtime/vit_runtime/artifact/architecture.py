"""What a Vision Transformer is made of: its sizes and its kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from vit_runtime.artifact.sizes import check_blocks, check_sizes

LARGEST_IMAGE: Final = 2048
"""Largest height and width of a model's input in pixels. At this size, with patches of 16, one layer's attention
weights take 13 GB."""
_SIZES: Final = {
    "image_size": (1, LARGEST_IMAGE),
    "patch_size": (1, LARGEST_IMAGE),
    "layers": (1, 1_000),
    "heads": (1, 1 << 16),
    "width": (1, 1 << 16),
    "mlp_width": (1, 1 << 18),
    "classes": (0, 1 << 20),
    "registers": (0, 1 << 12),
    "rows_per_class": (1, 1 << 16),
    "unknown_rows": (0, 1 << 20),
    "projection": (0, 1 << 16),
}
"""Least and most of each size. The most is far above every published model, but too small for a number in a file to
ask for all of the memory."""

Pooling = Literal[
    "class_token", "class_and_distillation_token", "class_token_and_patch_mean", "patch_mean", "attention"
]
"""What the head reads. The embedding is the class token with the first three, and the mean with the fourth. With
"attention" it is what a learned probe gathers from all tokens (Zhai et al. 2022, "Scaling Vision Transformers")."""
Activation = Literal["erf", "tanh", "quick", "silu"]
"""The MLP's function: GELU exactly, with tanh or as x·sigmoid(1.702 x) (Hendrycks and Gimpel 2016), or SiLU."""
Rotary = Literal["none", "shared", "by_head"]
"""Rotary positions of the patches (Su et al. 2021; Heo et al. 2024 for pictures): none, the same angles everywhere, or
angles of each head's own in each block. The tokens in front of the patches are not rotated."""
_LEAST_WITH_UNKNOWN: Final = 2
_OF_TWO: Final = ("class_and_distillation_token", "class_token_and_patch_mean")
"""Poolings whose head reads two vectors, one behind the other."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A Vision Transformer's sizes, with the names of the paper (Dosovitskiy et al. 2021, section 3.1), and its kind.

    Parts that leave no trace in the graph have no field: LayerScale is folded into the layers in front of it, and a
    missing bias becomes zeros.
    """

    image_size: int
    patch_size: int
    layers: int
    heads: int
    width: int
    mlp_width: int
    classes: int
    """Number of classes; 0 without a classification head."""
    layer_norm_eps: float
    activation: Activation = "erf"
    gated_mlp: bool = False
    """Whether the MLP's hidden layer is activation(gate(x)) · up(x), with two projections (Shazeer 2020)."""
    norm_before_blocks: bool = False
    """Whether a LayerNorm lies in front of the first block, as in CLIP."""
    rotary: Rotary = "none"
    class_token: bool = True
    distillation_token: bool = False
    """Whether DeiT's second token is there, behind the class token (Touvron et al. 2021)."""
    registers: int = 0
    """Number of register tokens: they stand for no patch, and lie in front of the patches (Darcet et al. 2024)."""
    pooling: Pooling = "class_token"
    norm_after_pooling: bool = False
    """Whether the last LayerNorm comes after the mean, not before it."""
    projection: int = 0
    """Length of the embedding where a linear layer makes it, as in CLIP's space of pictures and texts; 0 without."""
    normalised_head: bool = False
    """Whether the head reads the embedding scaled to length 1."""
    rows_per_class: int = 1
    """Rows of the head's weights for each class, the largest of whose products is its logit."""
    unknown_rows: int = 0
    """Photos that an embedding is compared with for the last class, "none of these"; 0 without such a class."""

    def __post_init__(self) -> None:
        check_sizes(self, _SIZES)
        check_blocks(width=self.width, heads=self.heads, layer_norm_eps=self.layer_norm_eps)
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} is less than patch_size {self.patch_size}")
        if self.rotary != "none" and self.width // self.heads % 2:
            raise ValueError(f"rotary positions with heads of {self.width // self.heads}, an odd number")
        self._check_pooling()
        self._check_head()

    def _check_pooling(self) -> None:
        if not self.class_token and self.pooling not in ("patch_mean", "attention"):
            raise ValueError(f"pooling {self.pooling} without a class token")
        if self.pooling == "class_and_distillation_token" and not self.distillation_token:
            raise ValueError(f"pooling {self.pooling} without a distillation token")
        if self.norm_after_pooling and self.pooling != "patch_mean":
            raise ValueError(f"norm_after_pooling with pooling {self.pooling}")

    def _check_head(self) -> None:
        reads_two = self.pooling in _OF_TWO
        if reads_two and (self.projection or self.normalised_head):
            raise ValueError(f"projection or normalised_head with pooling {self.pooling}")
        if self.normalised_head and not self.classes:
            raise ValueError("normalised_head without classes")
        if (self.rows_per_class > 1 or self.unknown_rows) and not self.normalised_head:
            raise ValueError("rows_per_class or unknown_rows without normalised_head")
        if self.unknown_rows and self.classes < _LEAST_WITH_UNKNOWN:
            raise ValueError(f"unknown_rows with {self.classes} classes")

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def uncovered(self) -> int:
        """Pixels along the right and the lower edge that fill no patch: 6 of SigLIP So400m's 384, by patches of 14."""
        return self.image_size % self.patch_size

    @property
    def prefix(self) -> int:
        """Tokens in front of the patches: class token, distillation token, registers, in this order."""
        return self.class_token + self.distillation_token + self.registers

    @property
    def tokens(self) -> int:
        """Length of the token sequence."""
        return self.prefix + self.grid**2

    @property
    def causal(self) -> bool:
        """Whether a token sees only itself and those in front of it: as in text towers, in no model of pictures."""
        return False

    @property
    def embedding_width(self) -> int:
        """Length of the embedding."""
        return self.projection or self.width

    @property
    def head_rows(self) -> int:
        """Rows of the head's weights."""
        return (self.classes - (self.unknown_rows > 0)) * self.rows_per_class

    @property
    def head_width(self) -> int:
        """Length of the vector that the head reads."""
        return 2 * self.width if self.pooling in _OF_TWO else self.embedding_width


def without_classes(arch: Architecture) -> Architecture:
    """The architecture of the encoder alone: what is pooled is the embedding."""
    return replace(
        arch,
        classes=0,
        pooling="class_token" if arch.pooling in _OF_TWO else arch.pooling,
        normalised_head=False,
        rows_per_class=1,
        unknown_rows=0,
    )
