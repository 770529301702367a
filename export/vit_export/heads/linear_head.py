"""The heads that are fitted to examples, in plain arrays: what a head computes, and the ways to fit one.

All of them read the direction x = y / |y| of an embedding y. Their logits are products W·x + b, in some several for a
class, of which the largest counts.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import HeadMethod

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

LEAST_FOR_REGRESSION: Final = 5
"""Fewest photos of a class for logistic regression; with fewer, its strength cannot be chosen."""
_STRENGTHS: Final = tuple(10.0 ** (step / 2) for step in range(1, 8))
"""C of logistic regression on vectors of length 1: 3 to 3,000."""
_SCALES: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Factors from a cosine to a logit."""
_NEVER: Final = -100.0
"""Logit of a class that no photo stands for."""
_MOST_ITERATIONS: Final = 1000
_TOLERANCE: Final = 1e-6
"""Of the gradient: with scikit-learn's 1e-4 a photo in a hundred comes out otherwise than at the optimum."""


@dataclass(frozen=True)
class Candidate:
    """A way to fit a head."""

    method: HeadMethod
    strength: float
    """C of logistic regression, or the scale of cosines."""


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """A head's weights."""

    candidate: Candidate
    weight: Doubles
    """(C·M, E), class by class, M rows each."""
    bias: Doubles
    """(C·M,)."""
    rows_per_class: int = 1

    def logits(self, x: Doubles) -> Doubles:
        """The logits (N, C) of embeddings' directions (N, E)."""
        products = x @ self.weight.T + self.bias
        return np.asarray(products.reshape(len(x), -1, self.rows_per_class).max(axis=2))


def directions(embeddings: FloatArray | Doubles) -> Doubles:
    """Embeddings (N, E) scaled to length 1, in double precision; zeros stay zeros."""
    values = embeddings.astype(np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1))


def candidates(fewest: int) -> tuple[Candidate, ...]:
    """The ways to fit a head to classes, the smallest of which has `fewest` photos."""
    found = [Candidate("logistic regression", c) for c in _STRENGTHS if fewest >= LEAST_FOR_REGRESSION]
    found += [Candidate("class means", scale) for scale in _SCALES]
    return (*found, *(Candidate("nearest example", scale) for scale in _SCALES))


def fit(wanted: tuple[Candidate, ...], x: Doubles, labels: Numbers, classes: int) -> list[LinearHead]:
    """Fits heads to directions (N, E) and their classes (N,), numbers below `classes`; some may have no photo."""
    regression = [each for each in wanted if each.method == "logistic regression"]
    heads = dict(zip(regression, _regressions(regression, x, labels, classes), strict=True))
    for candidate in wanted:
        if candidate.method == "class means":
            heads[candidate] = _means(candidate, x, labels, classes)
        elif candidate.method == "nearest example":
            heads[candidate] = _nearest(candidate, x, labels, classes)
    return [heads[candidate] for candidate in wanted]


def _regressions(wanted: list[Candidate], x: Doubles, labels: Numbers, classes: int) -> list[LinearHead]:
    """Multinomial logistic regression with a penalty of |W|² / 2C, by scikit-learn.

    The photos span a space of at most N dimensions about their mean, and outside of it W is zero. So W is looked for in
    that space, which changes nothing but the time: the bias, which has no penalty, takes up the mean.
    """
    if not wanted:
        return []
    from sklearn.exceptions import ConvergenceWarning  # a second, which only this needs
    from sklearn.linear_model import LogisticRegression

    mean = x.mean(axis=0)
    _, sizes, basis = np.linalg.svd(x - mean, full_matrices=False)
    basis = basis[sizes > sizes[0] * 1e-9] if sizes[0] > 0 else basis[:1]
    model = LogisticRegression(max_iter=_MOST_ITERATIONS, tol=_TOLERANCE, warm_start=True)
    heads = []
    for candidate in wanted:
        model.set_params(C=candidate.strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # what it found is measured like any other
            model.fit((x - mean) @ basis.T, labels)
        found, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2:  # scikit-learn then has one row, the second class's lead
            found, bias = np.concatenate([-found, found]) / 2, np.concatenate([-bias, bias]) / 2
        weight, shift = np.zeros((classes, x.shape[1])), np.full(classes, _NEVER)
        weight[model.classes_] = found @ basis
        shift[model.classes_] = bias - weight[model.classes_] @ mean
        heads.append(LinearHead(candidate=candidate, weight=weight, bias=shift))
    return heads


def _means(candidate: Candidate, x: Doubles, labels: Numbers, classes: int) -> LinearHead:
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, _NEVER)
    for label in np.unique(labels):
        weight[label] = candidate.strength * directions(x[labels == label].mean(axis=0, keepdims=True))[0]
        bias[label] = 0
    return LinearHead(candidate=candidate, weight=weight, bias=bias)


def _nearest(candidate: Candidate, x: Doubles, labels: Numbers, classes: int) -> LinearHead:
    """Each photo is a row; classes with fewer photos than others repeat their first one."""
    rows = int(np.bincount(labels, minlength=classes).max())
    weight, bias = np.zeros((classes, rows, x.shape[1])), np.full((classes, rows), _NEVER)
    for label in np.unique(labels):
        photos = x[labels == label]
        weight[label] = candidate.strength * photos[0]
        weight[label, : len(photos)] = candidate.strength * photos
        bias[label] = 0
    flat = weight.reshape(-1, x.shape[1])
    return LinearHead(candidate=candidate, weight=flat, bias=bias.reshape(-1), rows_per_class=rows)
