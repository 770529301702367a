"""Photos that look mislabelled, and photos that are there twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from vit_export.heads.linear_head import Doubles, Numbers

TWIN_COSINE: Final = 0.98
"""Cosine from which on two photos count as one. Among 500 photos of as many kinds the largest was 0.79 (DeiT-Tiny) and
0.965 (DINOv2-S); a photo and itself, saved once more as JPEG at quality 90, had at least 0.96 and 0.998."""
_BLOCK: Final = 1024
_MOST_PAIRS: Final = 10_000


def doubtful(probabilities: Doubles, labels: Numbers) -> Numbers:
    """Photos (any number of them) of which a head that had not seen them is sure that they show another class.

    It is sure where that class is at least as likely as it is, in the mean, for the photos that are its own (Northcutt
    et al. 2021, "Confident Learning"), and three times as likely as the photo's own class.

    Args:
        probabilities: of each class (N, C), by a head that had not seen the photo.
        labels: the class that each photo is filed under (N,).

    Returns:
        Numbers of photos, those first of which the head is surest.
    """
    photos = np.arange(len(labels))
    told = probabilities.argmax(axis=1)
    own = probabilities[photos, labels]
    usual = np.array([own[labels == label].mean() for label in range(probabilities.shape[1])])
    sure = probabilities[photos, told]
    found = photos[(told != labels) & (sure >= usual[told]) & (sure >= 3 * own)]
    return np.asarray(found[np.argsort(-(sure - own)[found], kind="stable")])


def twins(x: Doubles, limit: float = TWIN_COSINE) -> list[tuple[int, int, float]]:
    """Pairs of photos that are one, or nearly so, with the cosine of their embeddings' directions (N, E)."""
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(x), _BLOCK):
        cosines = x[start : start + _BLOCK] @ x.T
        first, second = np.nonzero(cosines >= limit)
        pairs += [
            (int(a) + start, int(b), min(float(cosines[a, b]), 1.0))
            for a, b in zip(first, second, strict=True)
            if a + start < b
        ]
        if len(pairs) > _MOST_PAIRS:
            break
    return sorted(pairs, key=lambda pair: -pair[2])


def groups_of(count: int, pairs: Sequence[tuple[int, int, float]]) -> Numbers:
    """Gives photos that are linked by pairs one number: (count,)."""
    group = np.arange(count)
    for first, second, _ in pairs:
        group[group == group[second]] = group[first]
    return group
