"""The reference that an export is verified against: torchvision's model and torchvision's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.models import VisionTransformer
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812 - the name that torchvision's own code uses
from torchvision.transforms._presets import ImageClassification

from vit_runtime.artifact import Preprocessing
from vit_runtime.images import UInt8Array
from vit_runtime.model import FloatArray

NAME = f"torchvision {torchvision.__version__}, torch {torch.__version__}"


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
    """An RGB picture through torchvision's transforms: float tensor (3, H, W)."""
    tensor: torch.Tensor = transforms(preprocessing)(image)
    return tensor


def answers(model: VisionTransformer, inputs: Sequence[torch.Tensor]) -> tuple[FloatArray, FloatArray]:
    """PyTorch's logits (N, C) and embeddings (N, D) for normalised pictures, one at a time."""
    embeddings: list[FloatArray] = []
    # The head's input is the class token after the final LayerNorm: caught where the model itself computes it.
    hook = model.heads.register_forward_pre_hook(lambda _, args: embeddings.append(args[0].numpy()))
    try:
        with torch.inference_mode():
            logits = [model(tensor[None]).numpy() for tensor in inputs]
    finally:
        hook.remove()
    return np.concatenate(logits), np.concatenate(embeddings)
