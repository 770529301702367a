"""Values for red, green and blue."""

from __future__ import annotations

import math
from numbers import Real
from typing import Final, TypeAlias

Channels: TypeAlias = "tuple[float, float, float]"

IMAGENET_MEAN: Final[Channels] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Channels] = (0.229, 0.224, 0.225)
CLIP_MEAN: Final[Channels] = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final[Channels] = (0.26862954, 0.26130258, 0.27577711)


def three_numbers(values: object) -> Channels | None:
    """Gives three finite numbers, Python's or NumPy's, as floats; None for anything else."""
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        return None
    if not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        return None
    try:
        red, green, blue = map(float, values)
    except OverflowError:  # a whole number can be larger than any float
        return None
    return (red, green, blue) if all(map(math.isfinite, (red, green, blue))) else None
