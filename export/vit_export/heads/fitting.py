"""Chooses a head by cross-validation, and measures it on photos that it has not seen."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from vit_export.heads.linear_head import Candidate, Doubles, LinearHead, Numbers, candidates, fit
from vit_runtime.artifact import Share
from vit_runtime.probabilities import probabilities

_MOST_FOLDS: Final = 5
_LEAST_FOLDS: Final = 2
_SEED: Final = 0
_Z: Final = 1.959964
"""The normal distribution's 97.5 % point."""
_SMALLEST: Final = 1e-9
"""Smallest probability in a logarithm."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A head that is fitted to all photos, and what others like it, each without a part of them, said of that part."""

    head: LinearHead
    probabilities: Doubles
    """Of each class (N, C), by the head that had not seen the photo."""
    folds: Numbers
    """The part (N,) that each photo belongs to."""
    chosen: tuple[Candidate, ...]
    """The way to fit that was chosen for each part, by the others' photos."""

    @property
    def told(self) -> Numbers:
        """The likeliest class of each photo (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))


def folds_of(labels: Numbers, groups: Numbers) -> Numbers:
    """Deals photos out to at most five folds, each with its share of every class.

    A group is not torn apart, unless a class has no second one.

    Args:
        labels: the class of each photo (N,).
        groups: a number for each photo (N,), the same for photos that are alike.

    Returns:
        The fold of each photo (N,).
    """
    from sklearn.model_selection import StratifiedGroupKFold

    apart = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if apart < _LEAST_FOLDS:  # all photos of a class are alike: some of them have to be measured with
        groups = np.arange(len(labels))
        apart = int(np.bincount(labels).min())
    count = min(_MOST_FOLDS, apart)
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=_SEED)
    folds = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about classes with fewer groups than folds
        for number, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            folds[held_out] = number
    return folds


def choose(x: Doubles, labels: Numbers, folds: Numbers) -> Measured:
    """Fits a head to directions (N, E), in the way that gives photos of other folds their class with most certainty.

    That is the smallest mean of -log p. What is measured is not measured on what chose: for each fold the way is chosen
    by the others' photos alone.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    # Products this small take twenty times as long where several threads wait for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        return _choose(x, labels, folds)


def _choose(x: Doubles, labels: Numbers, folds: Numbers) -> Measured:
    classes = int(labels.max()) + 1
    ways = candidates(int(np.bincount(labels).min()))
    found = np.zeros((len(ways), len(x), classes))
    for fold in np.unique(folds):
        held_out = folds == fold
        heads = fit(ways, x[~held_out], labels[~held_out], classes)
        for way, head in enumerate(heads):
            found[way, held_out] = probabilities(head.logits(x[held_out]), "softmax")
    losses = -np.log(np.maximum(found[:, np.arange(len(x)), labels], _SMALLEST))  # (ways, N)
    shares = np.zeros((len(x), classes))
    chosen = []
    for fold in np.unique(folds):
        held_out = folds == fold
        best = int(losses[:, ~held_out].mean(axis=1).argmin())
        shares[held_out] = found[best, held_out]
        chosen.append(ways[best])
    best_of_all: Candidate = ways[int(losses.mean(axis=1).argmin())]
    (head,) = fit((best_of_all,), x, labels, classes)
    return Measured(head=head, probabilities=shares, folds=folds, chosen=tuple(chosen))


def share(count: int, of: int) -> Share:
    """A share with its 95 % interval (Wilson 1927)."""
    at = count / of
    middle = (at + _Z**2 / (2 * of)) / (1 + _Z**2 / of)
    half = _Z / (1 + _Z**2 / of) * sqrt(at * (1 - at) / of + _Z**2 / (4 * of**2))
    return Share(count=count, of=of, low=max(0.0, middle - half), high=min(1.0, middle + half))
