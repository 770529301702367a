"""The PyTorch side of a comparison: torchvision's own model at an artifact's configuration, and its transforms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from vit_export.read.torchvision_state import empty_model
from vit_export.verify.plain_vit import PlainViT
from vit_export.verify.transforms import normalise, prepare
from vit_runtime.artifact import Architecture

__all__ = ["is_torchvisions", "load_model", "normalise", "prepare"]


def is_torchvisions(arch: Architecture) -> bool:
    """Whether torchvision's VisionTransformer can be this architecture."""
    kind = Architecture(
        image_size=arch.image_size,
        patch_size=arch.patch_size,
        layers=arch.layers,
        heads=arch.heads,
        width=arch.width,
        mlp_width=arch.mlp_width,
        classes=arch.classes,
        layer_norm_eps=arch.layer_norm_eps,
    )
    return arch == kind and arch.classes > 0


def load_model(arch: Architecture, weights: Path, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, str]:
    """A model (N, 3, H, W) to scores (N, classes), or embeddings without a head, and what it is, in words.

    Args:
        arch: what the artifact says.
        weights: a .safetensors file with torchvision's names; see `vit_export.read.canonical`.
        dtype: of weights and computation.
    """
    state = {name: tensor.to(dtype) for name, tensor in load_file(weights).items()}
    if is_torchvisions(arch):
        model = empty_model(arch)
        model.load_state_dict(state, assign=True)
        return model.requires_grad_(requires_grad=False), f"torchvision {torchvision.__version__}"
    return _Plain(arch, state), "a plain Vision Transformer, since torchvision has none of this kind"


class _Plain(nn.Module):
    """`vit_export.verify.plain_vit` as a module, whose weights are its own, as tracing wants them."""

    def __init__(self, arch: Architecture, state: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._arch = arch
        self._names = {name: name.replace(".", "/") for name in state}
        for name, tensor in state.items():
            self.register_buffer(self._names[name], tensor)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        state = {name: self.get_buffer(key) for name, key in self._names.items()}
        answers = PlainViT(self._arch, state)(pixels, attention=False)
        return answers.embedding if answers.logits is None else answers.logits
