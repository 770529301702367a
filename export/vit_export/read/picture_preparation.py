"""How pictures are prepared for a checkpoint, at whatever size they are wanted."""

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
    """That the checkpoint does not say it, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures are prepared as the files state it, and at any other size."""

    image_size: int
    """Height and width of the pictures that come out, as stated."""
    stated_in: str
    """What states it, for messages: a file's name."""
    at: Callable[[int], Preprocessing]
    """The same preparation for pictures of a size that come out; raises `ValueError` where none is possible."""
    preset: Preset | None = None
    """None where the checkpoint states it itself."""


def in_proportion(stated: Preprocessing, stated_in: str, preset: Preset | None = None) -> Preparation:
    """A preparation whose resize keeps its proportion to the crop at other sizes: the same part of the picture."""

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
