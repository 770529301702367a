"""Small pictures of what an index holds, for the page: at addresses that the service itself has handed out."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from vit_runtime.pictures.limits import Limits
from vit_runtime.pictures.reading import read_rgb

ADDRESS: Final = "/v1/thumbnails"
_EDGE: Final = 256
_QUALITY: Final = 80
_SECRET: Final = secrets.token_bytes(32)
"""Of this process: an address is good until the service ends."""


def thumbnail_address(picture: str, model: str) -> str:
    """Where the service gives a small picture of one that the index of a model holds."""
    query = {"picture": picture, "model": model, "signature": _signature(picture, model)}
    return f"{ADDRESS}?{urlencode(query, errors='surrogateescape')}"


def is_ours(picture: str, model: str, signature: str) -> bool:
    """Whether an address with these parts was handed out by this process."""
    return hmac.compare_digest(_signature(picture, model).encode(), os.fsencode(signature))


def thumbnail(path: Path, limits: Limits) -> bytes:
    """Reads a picture and gives it as JPEG of at most 256 x 256 pixels.

    Raises:
        ImageError: it cannot be read.
    """
    small = read_rgb(path, limits=limits).copy()
    small.thumbnail((_EDGE, _EDGE))
    encoded = BytesIO()
    small.save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue()


def _signature(picture: str, model: str) -> str:
    about = f"{model}\n{picture}".encode(errors="surrogateescape")
    return hmac.new(_SECRET, about, hashlib.sha256).hexdigest()
