"""How many attention heads a model has, where only the width of its tokens is known.

The number of heads leaves no trace in any weight. Most published Vision Transformers have heads 64 wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vit_runtime.errors import UsageError, option

_WIDTH: Final = 64


def heads_of(width: int, *, asked: int | None, exceptions: Mapping[int, int]) -> int:
    """Gives the number of heads: the one asked for, else a known exception for this width, else width / 64.

    Raises:
        UsageError: the number cannot be guessed, or does not divide the width.
    """
    heads = asked or exceptions.get(width)
    if heads is None and width % _WIDTH:
        what = f"needed: a width of {width} is no multiple of {_WIDTH}"
        raise UsageError(option("heads"), what, "name the number")
    heads = heads or width // _WIDTH
    if width % heads:
        usual = exceptions.get(width) or max(width // _WIDTH, 1)
        raise UsageError(
            option("heads"), f"{heads} heads do not divide a width of {width}", f"the usual number is {usual}"
        )
    return heads
