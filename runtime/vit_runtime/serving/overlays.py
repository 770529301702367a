"""Draws an attention map over a picture, as PNG."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Final

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact.signature import check_finite
from vit_runtime.heatmap import AttentionMap
from vit_runtime.model import ViT
from vit_runtime.pictures.preprocess import fit
from vit_runtime.pictures.reading import read_rgb
from vit_runtime.serving.pictures import Picture
from vit_runtime.workers.works import Prepared

_LONGEST_EDGE: Final = 2048
"""Of the picture that is drawn on: a larger one would take seconds and many megabytes."""


def overlay(vit: ViT, picture: Picture) -> Callable[[], Prepared[bytes]]:
    """What a worker does: reads the picture, and draws the map over it, at 2048 x 2048 pixels at most."""

    def read() -> Prepared[bytes]:
        preprocessing = vit.artifact.preprocessing
        photo = read_rgb(picture.content, limits=vit.limits, name=picture.name)
        pixels = fit(photo, preprocessing, picture.name)
        photo.thumbnail((_LONGEST_EDGE, _LONGEST_EDGE))

        def draw(rows: tuple[FloatArray, ...]) -> bytes:
            check_finite(rows[0], vit.artifact)
            encoded = BytesIO()
            AttentionMap(rows[0], photo, preprocessing).overlay().save(encoded, "PNG", compress_level=1)
            return encoded.getvalue()

        return Prepared(pixels, draw, ("rollout",))

    return read
