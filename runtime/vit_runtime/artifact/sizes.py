"""Bounds of what an architecture holds, so that no number in a file asks for all of the memory."""

from __future__ import annotations

from collections.abc import Mapping


def check_sizes(architecture: object, limits: Mapping[str, tuple[int, int]]) -> None:
    """Checks that each size lies from its least to its most.

    Args:
        architecture: what has the sizes, as attributes.
        limits: the least and the most by the size's name.

    Raises:
        ValueError: one does not.
    """
    for name, (least, most) in limits.items():
        size = getattr(architecture, name)
        if size < least:
            raise ValueError(f"{name} is {size}, should be at least {least}")
        if size > most:
            raise ValueError(f"{name} is {size}, should be at most {most}")


def check_blocks(*, width: int, heads: int, layer_norm_eps: float) -> None:
    """Checks what every Transformer block needs.

    Raises:
        ValueError: heads do not share the width evenly, or LayerNorm's epsilon is no small number.
    """
    if not 0 <= layer_norm_eps < 1:
        raise ValueError(f"layer_norm_eps is {layer_norm_eps}, should be from 0 to below 1")
    if width % heads:
        raise ValueError(f"width {width} is no multiple of heads {heads}")
