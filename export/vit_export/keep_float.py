"""Which linear layers of an int8 model stay in float32."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from vit_export.errors import UnknownModelError
from vit_runtime.errors import UsageError


def parse_keep_float(text: str) -> int | tuple[str, ...]:
    """A number of layers, or patterns of layer names, from the command line.

    Raises:
        UsageError: the text is neither.
    """
    names = tuple(part.strip() for part in text.split(","))
    if re.fullmatch("-?[0-9]+", text.strip()):
        count = int(text)
        if count < 0:
            raise UsageError("--keep-float", f"{count} is no number of layers", "give 0 or more, or names of layers")
        return count
    if not all(names):
        raise UsageError("--keep-float", f"'{text}' has an empty name", "give a number, or names parted by commas")
    return names


def layers_to_keep(
    wanted: int | tuple[str, ...], layers: Sequence[str], sqnr: Mapping[str, float] | None
) -> tuple[str, ...]:
    """The layers that a user asked to keep, in the order of the graph.

    Args:
        wanted: how many of the worst, or names, in which `*` stands for anything.
        layers: the paths of all layers that can be kept.
        sqnr: signal to quantization noise by layer; None without calibration.

    Raises:
        UsageError: the worst are asked for, and nothing tells which those are.
        UnknownModelError: a name fits no layer.
    """
    if isinstance(wanted, int):
        if sqnr is None:
            if wanted:
                raise UsageError("--keep-float", "a number needs --calibrate, which finds the worst layers", "add it")
            return ()
        worst = worst_first(sqnr)[: max(0, wanted)]
        return tuple(layer for layer in layers if layer in worst)
    for pattern in wanted:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise UnknownModelError("layer", pattern, layers, "`vit-run info` of an int8 file lists them")
    return tuple(layer for layer in layers if any(fnmatchcase(layer, pattern) for pattern in wanted))


def worst_first(sqnr: Mapping[str, float]) -> list[str]:
    """Layers by rising signal to quantization noise."""
    return sorted(sqnr, key=lambda layer: sqnr[layer])


def fewest(most: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest count up to `most` that is found to be enough; None where not even `most` is.

    Doubles the count until it is enough, then halves the gap: a good dozen trials where all counts would be a hundred.
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
