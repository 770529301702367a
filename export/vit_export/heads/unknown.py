"""The class for pictures of none of the others: by the cosine with the most similar example photo.

Its logit is t + s·(c - n), where t is the largest logit of the other classes, n the cosine with the most similar photo,
and c the threshold. So it wins where n < c, whatever the other classes say.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np

from vit_export.heads.fitting import share
from vit_export.heads.linear_head import Doubles, Numbers
from vit_runtime.artifact import UnknownClass

_ODDS: Final = 9.0
"""How many times as likely as the class for unknown pictures the likeliest other class is for a photo whose cosine is
the median of the known ones."""
_LEAST_DISTANCE: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The class's weights, and what was measured."""

    weight: Doubles
    """(R, E): the logit's distance from the largest other one is the smallest of weight·x + bias."""
    bias: Doubles
    """(R,)."""
    facts: UnknownClass


def unknown_class(x: Doubles, labels: Numbers, folds: Numbers) -> Unknown:
    """Chooses the threshold for directions (N, E) of classes (N,), and measures it.

    A photo counts as known to the photos of other folds, and as unknown to those of them that show other classes. The
    threshold is where most photos are told right, the mean of both kinds. For each fold it is chosen on the others
    before it is measured.
    """
    cosines = x @ x.T
    other_fold = folds[:, None] != folds[None]
    other_class = labels[:, None] != labels[None]
    known = np.where(other_fold, cosines, -1).max(axis=1)
    unknown = np.where(other_fold & other_class, cosines, -1).max(axis=1)
    refused = found = 0
    for fold in np.unique(folds):
        held_out = folds == fold
        threshold = _threshold(known[~held_out], unknown[~held_out])
        refused += int((known[held_out] < threshold).sum())
        found += int((unknown[held_out] < threshold).sum())
    threshold = _threshold(known, unknown)
    scale = log(_ODDS) / max(float(np.median(known)) - threshold, _LEAST_DISTANCE)
    facts = UnknownClass(threshold=threshold, refused=share(refused, len(x)), found=share(found, len(x)))
    return Unknown(weight=-scale * x, bias=np.full(len(x), scale * threshold), facts=facts)


def _threshold(known: Doubles, unknown: Doubles) -> float:
    """The middle of two neighbouring cosines between which as many known ones lie above, and unknown ones below."""
    values = np.unique(np.concatenate([known, unknown]))
    between = np.concatenate([values[:1] - 1e-6, (values[1:] + values[:-1]) / 2, values[-1:] + 1e-6])
    right = (known[:, None] >= between).mean(axis=0) + (unknown[:, None] < between).mean(axis=0)
    return float(between[int(right.argmax())])
