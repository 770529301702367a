"""Reads the options in a request's address."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from vit_runtime.serving.refusals import Refusal

_ALSO: Final = {"classes": "predictions", "embedding": "embedding", "map": "map", "nearest": "nearest"}
"""What `also` can ask for, and the field of `Wanted` that it sets."""


def also_of(query: Mapping[str, str]) -> list[str]:
    """The fields of `Wanted` that `also=map,nearest` sets.

    Raises:
        Refusal: it names something else.
    """
    asked = [name for name in query.get("also", "").split(",") if name]
    unknown = [name for name in asked if name not in _ALSO]
    if unknown:
        told = f"also={unknown[0][:40]} is unknown; there is {', '.join(_ALSO)}"
        raise Refusal(HTTPStatus.BAD_REQUEST, told)
    return [_ALSO[name] for name in asked]


def number_of(query: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    """A whole number from 1 to `most`.

    Raises:
        Refusal: it is something else.
    """
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name}={text[:40]} should be a whole number from 1 to {most}")
    return int(text)
