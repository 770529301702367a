"""Describes classes that were fitted to photos, in words, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vit_runtime.artifact import ExampleClasses, HeadMethod, Share
from vit_runtime.wording import plural

_SHOWN: Final = 5
_METHODS: Final[dict[HeadMethod, str]] = {
    "logistic regression": "logistic regression, C = {:.3g}",
    "class means": "the cosine with each class's mean, times {:.3g}",
    "nearest example": "the cosine with the most similar photo of each class, times {:.3g}",
}


def describe_examples(facts: ExampleClasses, labels: Sequence[str]) -> dict[str, str]:
    """Gives what is known of classes that were fitted to photos, as rows of a table.

    Args:
        facts: as the artifact states them.
        labels: of the classes, in their order.
    """
    photos = sum(facts.photos)
    by = "this file" if facts.embedded_by == "this file" else "the float32 graph"
    rows = {
        "classes": f"{len(facts.photos)}, fitted to {plural(photos, 'photo')} as {by} sees them",
        "  head": _METHODS[facts.method].format(facts.strength),
        "  accuracy": f"{_share(facts.accuracy)}, in {facts.folds} folds, each told by a head that had not seen it",
    }
    rows |= {"  weakest": weakest} if (weakest := _weakest(facts, labels)) else {}
    if facts.confusion is not None:
        most = facts.confusion
        rows["  confused"] = f"'{most.label}' taken for '{most.taken_for}' most often: {plural(most.photos, 'photo')}"
    if facts.unknown is not None:
        unknown = facts.unknown
        rows["  unknown"] = f"'{labels[-1]}' below a cosine of {unknown.threshold:.3f} with the most similar photo"
        rows["    refuses"] = f"{_share(unknown.refused)} of the classes' own photos"
        rows["    finds"] = f"{_share(unknown.found)} of photos whose class was left out"
    return rows | _doubts(facts) | _twins(facts)


def _share(share: Share) -> str:
    return (
        f"{100 * share.share:.1f} % ({share.count} of {share.of}; 95 % interval by Wilson {100 * share.low:.1f} to "
        f"{100 * share.high:.1f} %)"
    )


def _weakest(facts: ExampleClasses, labels: Sequence[str]) -> str:
    """The class with the smallest share of photos that were told right; empty where all were."""
    shares = [right / photos for right, photos in zip(facts.right, facts.photos, strict=True)]
    least = shares.index(min(shares))
    right, photos = facts.right[least], facts.photos[least]
    return "" if right == photos else f"'{labels[least]}': {right} of {photos} told right"


def _doubts(facts: ExampleClasses) -> dict[str, str]:
    if not facts.doubtful:
        return {}
    rows = {"  mislabelled?": f"{plural(facts.doubtful, 'photo')}, by heads that had not seen them; look at"}
    for number, doubt in enumerate(facts.doubts[:_SHOWN], start=1):
        rows[f"    photo {number}"] = f"{doubt.photo} looks like '{doubt.looks_like}' ({100 * doubt.probability:.0f} %)"
    return rows


def _twins(facts: ExampleClasses) -> dict[str, str]:
    rows = {}
    if facts.unreadable:
        rows["  unreadable"] = f"{plural(facts.unreadable, 'photo')} skipped"
    if facts.left_out:
        rows["  left out"] = f"{plural(facts.left_out, 'photo')}, there twice or in several classes"
    if facts.twin_pairs:
        rows["  twice?"] = f"{plural(facts.twin_pairs, 'pair')} of photos that are one, or nearly so; look at"
    for number, twins in enumerate(facts.twins[:_SHOWN], start=1):
        how = "the same pixels" if twins.same_pixels else f"cosine {twins.cosine:.3f}"
        rows[f"    pair {number}"] = f"{twins.photo} and {twins.other} ({how})"
    return rows
