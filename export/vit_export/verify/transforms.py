"""Prepares pictures with Pillow and torchvision's transforms; the runtime's preprocessing is compared with this."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812 - the name that torchvision's own code uses
from torchvision.transforms._presets import ImageClassification

from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Preprocessing


def transforms(preprocessing: Preprocessing) -> ImageClassification:
    """Gives torchvision's preset with an artifact's values: PIL image to float tensor (3, H, W), normalised."""
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
    """Does what torchvision's preset does after the crop: uint8 (H, W, 3) to float tensor (3, H, W)."""
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    tensor = F.convert_image_dtype(tensor, torch.float32)
    normalised: torch.Tensor = F.normalize(tensor, mean=list(preprocessing.mean), std=list(preprocessing.std))
    return normalised


def prepare(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """Prepares an RGB picture with torchvision's transforms: float tensor (3, H, W).

    A crop that rounds down, as in transformers but not in torchvision, is made with Pillow alone.
    """
    preset = transforms(preprocessing)
    if preprocessing.crop_rounding == "down":
        image = F.resize(image, preset.resize_size, interpolation=preset.interpolation)
        height, width = preprocessing.crop_hw
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return normalise(np.array(image.crop((left, top, left + width, top + height))), preprocessing)
    tensor: torch.Tensor = preset(image)
    return tensor
