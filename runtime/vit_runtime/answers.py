"""What models take and give: one picture or many, and an answer for each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from PIL import Image

from vit_runtime.arrays import FloatArray
from vit_runtime.pictures.reading import ImageSource

if TYPE_CHECKING:
    from typing import TypeGuard

ImageSources: TypeAlias = "ImageSource | Iterable[ImageSource]"


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer for one picture."""

    source: ImageSource
    """The picture, as it was given."""
    values: FloatArray
    """The output's row: logits float32 (classes,), embedding (width,), or rollout (h, w)."""


def is_one(images: ImageSources) -> TypeGuard[ImageSource]:
    """Whether this is one picture: anything that can be a picture, or that cannot be iterated over."""
    one = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Image.Image))
    return one or hasattr(images, "read") or not isinstance(images, Iterable)


def sources_of(images: ImageSources) -> Iterable[ImageSource]:
    """Gives the sources one by one; a single picture becomes a list of one."""
    return [images] if is_one(images) else cast("Iterable[ImageSource]", images)
