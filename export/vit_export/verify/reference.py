"""The reference that an export is verified against: a model in PyTorch, and Pillow through torchvision's transforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.models import VisionTransformer
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812 - the name that torchvision's own code uses
from torchvision.transforms._presets import ImageClassification

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Architecture, Output, Preprocessing, Reading, Rollout


def transforms(preprocessing: Preprocessing) -> ImageClassification:
    """Torchvision's preset with an artifact's values: PIL image to float tensor (3, H, W), normalised."""
    preset = ImageClassification(
        crop_size=preprocessing.crop_hw[0],
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=InterpolationMode(preprocessing.interpolation),
    )
    exact, edge = preprocessing.resize_hw, preprocessing.resize_shortest_edge
    preset.resize_size = [edge] if exact is None else list(exact)
    return preset


def normalise(pixels: UInt8Array, preprocessing: Preprocessing) -> torch.Tensor:
    """What torchvision's preset does after the crop: uint8 (H, W, 3) to float tensor (3, H, W)."""
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    tensor = F.convert_image_dtype(tensor, torch.float32)
    normalised: torch.Tensor = F.normalize(tensor, mean=list(preprocessing.mean), std=list(preprocessing.std))
    return normalised


def prepare(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """An RGB picture through torchvision's transforms: float tensor (3, H, W).

    Where the crop rounds down, as transformers' does and torchvision's does not, it is Pillow's own.
    """
    preset = transforms(preprocessing)
    if preprocessing.crop_rounding == "down":
        image = F.resize(image, preset.resize_size, interpolation=preset.interpolation)
        height, width = preprocessing.crop_hw
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return normalise(np.array(image.crop((left, top, left + width, top + height))), preprocessing)
    tensor: torch.Tensor = preset(image)
    return tensor


@dataclass(frozen=True, kw_only=True)
class ReferenceAnswers:
    """What PyTorch says of pictures (N, 3, H, W)."""

    embedding: torch.Tensor
    """(N, D)."""
    logits: torch.Tensor | None
    """(N, C); None without a head."""
    attention: list[torch.Tensor]
    """Attention weights of each layer (N, H, S, S), the first layer's first; none unless asked for."""


class ReferenceModel(Protocol):
    """A model in PyTorch that exports are held to."""

    name: str
    """Packages and versions."""
    reading: Reading
    """Whose code read the checkpoint for it."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> ReferenceAnswers:
        """Answers for normalised pictures (N, 3, H, W), in float32; called in inference mode."""


class TorchvisionReference:
    """torchvision's own model.

    Its sizes and its weights by name are torchvision's. Of a checkpoint that says less than that, such as the number of
    heads, an artifact's assumptions tell.
    """

    reading: Reading = "library"

    def __init__(self, model: VisionTransformer) -> None:
        self.name = f"torchvision {torchvision.__version__}, torch {torch.__version__}"
        self._model = model

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> ReferenceAnswers:
        """See `ReferenceModel`.

        torchvision's model gives logits alone: the rest is caught by hooks. The head's input is the class token after
        the final LayerNorm. Of attention its input is caught, and the weights computed from it.
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
        return ReferenceAnswers(embedding=embeddings[0], logits=logits, attention=maps)


def _packed_attention(module: torch.nn.MultiheadAttention, x: torch.Tensor) -> torch.Tensor:
    """The weights (N, H, S, S) that PyTorch's attention gives its input (N, S, D)."""
    packed = torch.nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias)
    query, keys, _ = packed.reshape(*x.shape[:2], 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
    return attention_weights(query, keys)


def attention_weights(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Softmax(Q Kᵀ / √K): (N, H, S, K) twice to (N, H, S, S)."""
    scores = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1)


def answers(
    model: ReferenceModel, inputs: Sequence[torch.Tensor], arch: Architecture, how: Rollout | None
) -> dict[Output, FloatArray]:
    """PyTorch's answers by output (N, ...) for normalised pictures, one at a time."""
    found: dict[Output, list[torch.Tensor]] = {}
    for picture in inputs:
        with torch.inference_mode():
            answer = model(picture[None], attention=how is not None)
            if answer.logits is not None:
                found.setdefault("logits", []).append(answer.logits)
            found.setdefault("embedding", []).append(answer.embedding)
            if how is not None:
                found.setdefault("rollout", []).append(rollout(answer.attention, arch, how))
    return {output: torch.cat(values).numpy() for output, values in found.items()}


def rollout(attention: Sequence[torch.Tensor], arch: Architecture, how: Rollout) -> torch.Tensor:
    """Attention rollout from attention weights (N, H, S, S), the first layer's first: float32 (N, G, G).

    Abnar and Zuidema (2020), section 3, as it stands there: all of A_L · … · A_1 in double precision, and then the row
    of the class token, or the mean of the patches' rows where the answer is their mean.
    """
    product = torch.eye(arch.tokens, dtype=torch.float64)
    for weights in attention:
        product = _with_residual(weights.double(), how) @ product
    row = product[:, arch.prefix :].mean(dim=1) if arch.pooling == "patch_mean" else product[:, 0]
    return row[:, arch.prefix :].reshape(-1, arch.grid, arch.grid).float()


def _with_residual(weights: torch.Tensor, how: Rollout) -> torch.Tensor:
    """Fuses heads, drops the smallest weights of each row, adds the residual, and scales rows to 1."""
    fused = {"mean": weights.mean(dim=1), "max": weights.amax(dim=1), "min": weights.amin(dim=1)}[how.head_fusion]
    discarded = int(how.discard_ratio * fused.shape[-1])
    smallest = fused.argsort(dim=-1)[..., :discarded]
    mixed = fused.scatter(-1, smallest, 0.0) + torch.eye(fused.shape[-1], dtype=fused.dtype)
    return mixed / mixed.sum(dim=-1, keepdim=True)
