"""What a Vision Transformer is made of: its sizes and its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

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
}
"""Least and most of each size. The most is far above every published model, but too small for a number in a file to
ask for all of the memory."""

Pooling = Literal["class_token", "class_and_distillation_token", "class_token_and_patch_mean", "patch_mean"]
"""What the head reads. The embedding is the class token with the first three, and the mean with the last."""


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
    gelu: Literal["erf", "tanh"] = "erf"
    class_token: bool = True
    distillation_token: bool = False
    """Whether DeiT's second token is there, behind the class token (Touvron et al. 2021)."""
    registers: int = 0
    """Number of register tokens: they stand for no patch, and lie in front of the patches (Darcet et al. 2024)."""
    pooling: Pooling = "class_token"
    norm_after_pooling: bool = False
    """Whether the last LayerNorm comes after the mean, not before it."""

    def __post_init__(self) -> None:
        for name, (least, most) in _SIZES.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, should be at least {least}")
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}, should be at most {most}")
        if not 0 <= self.layer_norm_eps < 1:
            raise ValueError(f"layer_norm_eps is {self.layer_norm_eps}, should be from 0 to below 1")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        self._check_pooling()

    def _check_pooling(self) -> None:
        if not self.class_token and self.pooling != "patch_mean":
            raise ValueError(f"pooling {self.pooling} without a class token")
        if self.pooling == "class_and_distillation_token" and not self.distillation_token:
            raise ValueError(f"pooling {self.pooling} without a distillation token")
        if self.norm_after_pooling and self.pooling != "patch_mean":
            raise ValueError(f"norm_after_pooling with pooling {self.pooling}")

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def prefix(self) -> int:
        """Tokens in front of the patches: class token, distillation token, registers, in this order."""
        return self.class_token + self.distillation_token + self.registers

    @property
    def tokens(self) -> int:
        """Length of the token sequence."""
        return self.prefix + self.grid**2

    @property
    def head_width(self) -> int:
        """Length of the vector that the head reads."""
        return self.width * (2 if self.pooling in ("class_and_distillation_token", "class_token_and_patch_mean") else 1)
