"""How far an export may be from PyTorch: a table for each precision, beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Description, Output, Precision


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Largest accepted difference from PyTorch for values up to `unit` in size; in proportion for larger values."""

    most: float
    unit: float

    def limit(self, reference_values: FloatArray) -> float:
        """Gives the limit for values as large as the reference's."""
        return self.most * max(1.0, float(np.abs(reference_values).max()) / self.unit)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Smallest accepted cosine with PyTorch's answer, for the picture with the worst one."""

    least: float


Tolerance = dict[Output, Difference | Cosine]

TOLERANCES: Final[dict[Precision, Tolerance]] = {
    # Worst measured: 6.8e-5 of a logit, DeiT-Tiny's real weights on 500 photos (docs/log.md, 2026-11-23). A rollout's
    # values are shares: those of all tokens add up to 1.
    "fp32": {
        "logits": Difference(most=1e-4, unit=10.0),
        "embedding": Difference(most=1e-4, unit=10.0),
        "rollout": Difference(most=1e-6, unit=1.0),
    },
    # Worst measured on the formula pictures: docs/log.md, 2026-11-23, int8.
    "int8": dict.fromkeys(get_args(Output), Cosine(least=0.95)),
    "fp16": dict.fromkeys(get_args(Output), Cosine(least=0.999)),
}
_DISCARDING: Final = Cosine(least=0.999)
"""Limit for maps that leave out small weights: weights that differ only by rounding may fall on either side of the cut.
Measured: a difference of 7e-5 where values go up to 0.02 (ViT-B/16, random weights, largest of heads, 90 % discarded).
"""
SELF_TEST_SLACK: Final = 10.0
"""Factor from a tolerance to a self-test's limit, since other processors add up in another order. A wrong kernel is off
by a hundred times more."""
SELF_TEST_SHARE: Final[dict[Precision, float]] = {"int8": 0.1, "fp16": 0.01}
"""Limit of a self-test on the file's own answers, as a share of the largest answer: adding up in another order tips
values over to the next step of a grid. Measured: docs/decisions/0007."""

SHARE_OF_DISCARDING: Final = 0.1
"""The same share for fp32 maps that leave out small weights: they are held to a cosine, as int8 and fp16 are."""


def tolerance_of(output: Output, description: Description) -> Difference | Cosine:
    """Gives an output's tolerance; maps that leave out small weights have no close limit of difference."""
    tolerance = TOLERANCES[description.precision][output]
    discards = output == "rollout" and description.rollout is not None and description.rollout.discard_ratio > 0
    return _DISCARDING if discards and isinstance(tolerance, Difference) else tolerance
