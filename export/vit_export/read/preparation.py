"""How pictures are prepared when the weights do not say so, and how options change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vit_export.request import PreprocessingOptions
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import UsageError, option

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
_RESIZE_TO_CROP: Final = 256 / 224


def imagenet_preset(image_size: int) -> Preprocessing:
    """Torchvision's `ImageClassification` preset: resize 256 for a crop of 224, in proportion for other sizes."""
    return Preprocessing(
        resize_shortest_edge=round(image_size * _RESIZE_TO_CROP),
        resize_hw=None,
        crop_hw=(image_size, image_size),
        crop_rounding="half_even",
        interpolation="bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def at_image_size(preprocessing: Preprocessing, image_size: int) -> Preprocessing:
    """The same part of the picture at another size: the resize keeps its proportion to the crop.

    Raises:
        UsageError: pictures would have to be scaled to more, or to less, than is possible.
    """
    edge, exact = preprocessing.resize_shortest_edge, preprocessing.resize_hw
    scale = image_size / preprocessing.crop_hw[0]
    try:
        return replace(
            preprocessing,
            resize_shortest_edge=None if edge is None else round(edge * scale),
            resize_hw=None if exact is None else (round(exact[0] * scale), round(exact[1] * scale)),
            crop_hw=(image_size, image_size),
        )
    except ValueError as error:
        raise UsageError(option("image_size"), f"{image_size} does not go with the preparation: {error}") from error


def check_image_size(image_size: int, patch_size: int) -> None:
    """Sees to it that patches fill a picture.

    Raises:
        UsageError: they do not; offers the next sizes.
    """
    if image_size < patch_size or image_size % patch_size:
        below = max(image_size // patch_size, 1) * patch_size
        raise UsageError(
            option("image_size"),
            f"{image_size} is no multiple of the patch size {patch_size}",
            f"take {below} or {below + patch_size}",
        )


def with_options(preprocessing: Preprocessing, options: PreprocessingOptions) -> Preprocessing:
    """Replaces what the user has asked for otherwise.

    Raises:
        UsageError: pictures cannot be prepared so.
    """
    if isinstance(options.resize, int):
        preprocessing = replace(preprocessing, resize_shortest_edge=options.resize, resize_hw=None)
    elif options.resize is not None:
        preprocessing = replace(preprocessing, resize_shortest_edge=None, resize_hw=options.resize)
    try:
        return replace(
            preprocessing,
            interpolation=options.interpolation or preprocessing.interpolation,
            mean=options.mean or preprocessing.mean,
            std=options.std or preprocessing.std,
        )
    except ValueError as error:
        raise UsageError(option("std"), f"pictures cannot be prepared so: {error}") from error
