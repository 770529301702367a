"""How pictures are prepared for a checkpoint, at any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from vit_export.channels import IMAGENET_MEAN, IMAGENET_STD
from vit_export.request import PreprocessingOptions
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import UsageError, option

_RESIZE_TO_CROP: Final = 256 / 224


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A preparation that was taken because the checkpoint does not say how its pictures were prepared."""

    name: str
    why: str
    """A sentence which says that the checkpoint does not state its preparation."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures are prepared, at the size that the files state and at any other."""

    image_size: int
    """Height and width of a prepared picture in pixels, as stated."""
    stated_in: str
    """What states the preparation, for messages: a file's name."""
    at: Callable[[int], Preprocessing]
    """Gives the same preparation for another size of prepared pictures; raises `ValueError` where none is possible."""
    preset: Preset | None = None
    """The preset that is assumed; None where the checkpoint states the preparation itself."""


def in_proportion(stated: Preprocessing, stated_in: str, preset: Preset | None = None) -> Preparation:
    """Keeps the resize in proportion to the crop at other sizes, so that the same part of the picture is seen."""

    def at(image_size: int) -> Preprocessing:
        edge, exact = stated.resize_shortest_edge, stated.resize_hw
        scale = image_size / stated.crop_hw[0]
        return replace(
            stated,
            resize_shortest_edge=None if edge is None else round(edge * scale),
            resize_hw=None if exact is None else (round(exact[0] * scale), round(exact[1] * scale)),
            crop_hw=(image_size, image_size),
        )

    return Preparation(image_size=stated.crop_hw[0], stated_in=stated_in, at=at, preset=preset)


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


def with_options(preprocessing: Preprocessing, options: PreprocessingOptions) -> Preprocessing:
    """Replaces the parts of a preparation that the user asks to change.

    Raises:
        UsageError: pictures cannot be prepared in this way.
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
