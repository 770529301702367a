"""Chooses which linear layers of an int8 model stay in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from vit_export.errors import UnknownModelError


def layers_to_keep(
    wanted: int | tuple[str, ...], layers: Sequence[str], sqnr: Mapping[str, float] | None
) -> tuple[str, ...]:
    """Gives the layers that a user asked to keep in float, in the order of the graph.

    Args:
        wanted: how many of the worst, or names, in which `*` stands for anything.
        layers: the paths of all layers that can be kept.
        sqnr: signal to quantization noise by layer; None without calibration, when no layer is known to be worst.

    Raises:
        UnknownModelError: a name fits no layer.
    """
    if isinstance(wanted, int):
        if wanted == 0:
            return ()
        assert sqnr is not None  # noqa: S101 - `vit_export.checks` refuses a number without calibration
        worst = worst_first(sqnr)[:wanted]
        return tuple(layer for layer in layers if layer in worst)
    for pattern in wanted:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise UnknownModelError("layer", pattern, layers, "`vit-run info` of an int8 file lists them")
    return tuple(layer for layer in layers if any(fnmatchcase(layer, pattern) for pattern in wanted))


def worst_first(sqnr: Mapping[str, float]) -> list[str]:
    """Sorts layers by their signal to quantization noise, the noisiest first."""
    return sorted(sqnr, key=lambda layer: sqnr[layer])


def fewest(most: int, enough: Callable[[int], bool]) -> int | None:
    """Searches for the smallest count up to `most` that is enough; None where not even `most` is.

    Doubles the count until it is enough, then halves the gap: about a dozen trials instead of a hundred.
    """
    too_few, count = -1, 0
    while not enough(count):
        if count == most:
            return None
        too_few, count = count, min(most, max(1, 2 * count))
    while count - too_few > 1:
        middle = (count + too_few) // 2
        if enough(middle):
            count = middle
        else:
            too_few = middle
    return count
