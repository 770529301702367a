"""Few-shot classes: photos, seen by an encoder, become a head, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from vit_export.heads.doubtful import doubtful, groups_of, twins
from vit_export.heads.fitting import Measured, choose, folds_of, share
from vit_export.heads.folder import UNKNOWN_LABEL, ClassFolder
from vit_export.heads.linear_head import Doubles, LinearHead, Numbers, directions
from vit_export.heads.photos import Examples, see
from vit_export.heads.unknown import Unknown, unknown_class
from vit_export.progress import Progress
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import MOST_LISTED, Architecture, Confusion, Doubt, ExampleClasses, Head, Twins
from vit_runtime.artifact.architecture import without_classes
from vit_runtime.graph import Graph

_FEW: Final = 5
"""Photos of a class below which the measured accuracy says little."""
_CHANCE: Final = 0.6
"""Share of right answers about known and unknown photos, where a coin gives 0.5, below which a warning is due."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A head that was fitted to photos."""

    labels: tuple[str, ...]
    """With the one for unknown pictures, where there is one."""
    fitted: LinearHead
    unknown: Unknown | None
    facts: ExampleClasses

    @property
    def head(self) -> Head:
        """What the artifact says of its classes."""
        return Head(origin="examples", examples=self.facts)

    def weights(self) -> dict[str, FloatArray]:
        """The head's weights in float32, under the graph's names."""
        pairs = {"heads.head": (self.fitted.weight, self.fitted.bias)}
        if self.unknown is not None:
            pairs["heads.unknown"] = (self.unknown.weight, self.unknown.bias)
        return {
            f"{name}.{part}": values.astype(np.float32)
            for name, pair in pairs.items()
            for part, values in zip(("weight", "bias"), pair, strict=True)
        }

    def on(self, encoder: Architecture) -> Architecture:
        """The architecture of an encoder, whose own head is left out, with this head."""
        return replace(
            without_classes(encoder),
            classes=len(self.labels),
            normalised_head=True,
            rows_per_class=self.fitted.rows_per_class,
            unknown_rows=0 if self.unknown is None else len(self.unknown.weight),
        )


def logits_of(weights: Mapping[str, FloatArray], arch: Architecture, embeddings: FloatArray) -> FloatArray:
    """A head's formula in NumPy, in double precision: embeddings (N, E) to logits float32 (N, C).

    Args:
        weights: as `Learned.weights` gives them.
        arch: of the model with this head.
        embeddings: float32.
    """
    x = directions(embeddings)

    def products(name: str) -> Doubles:
        return np.asarray(x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"])

    logits = products("heads.head").reshape(len(x), -1, arch.rows_per_class).max(axis=2)
    if arch.unknown_rows:
        nearest = products("heads.unknown").min(axis=1)
        logits = np.concatenate([logits, (logits.max(axis=1) + nearest)[:, None]], axis=1)
    return np.asarray(logits, np.float32)


def learn(
    classes: Sequence[ClassFolder], graph: Graph, root: Path, progress: Progress, *, unknown: bool, own_file: bool
) -> Learned:
    """Fits a head to the photos of some classes.

    Args:
        classes: what is in the folder of examples.
        graph: gives embeddings.
        root: the folder of examples.
        progress: told of photos that cannot be read or that are in several classes.
        unknown: whether there is to be a class for pictures of none of the others.
        own_file: whether the graph is that of the file that gets the head; otherwise it is in float32.

    Raises:
        ExamplesError: too few photos of a class can be read.
        ArtifactError: the graph gives no embeddings, or they are NaN or infinite.
        ProviderError: the graph cannot compute them.
    """
    examples = see(classes, graph, root, progress)
    progress.stage("fitting a head")
    x, labels = directions(examples.embeddings), examples.of
    near = twins(x)
    folds = folds_of(labels, groups_of(len(x), near))
    measured = choose(x, labels, folds)
    further = unknown_class(x, labels, folds) if unknown else None
    _warn(labels, further, progress)
    return Learned(
        labels=examples.labels + ((UNKNOWN_LABEL,) if unknown else ()),
        fitted=measured.head,
        unknown=further,
        facts=_facts(examples, measured, near, further, own_file=own_file),
    )


def _facts(
    examples: Examples,
    measured: Measured,
    near: Sequence[tuple[int, int, float]],
    unknown: Unknown | None,
    *,
    own_file: bool,
) -> ExampleClasses:
    labels, told = examples.of, measured.told
    right = told == labels
    count = len(examples.labels)
    doubts = doubtful(measured.probabilities, labels)
    photos = examples.photos
    pairs = [
        *examples.same,
        *(Twins(photo=photos[a].name, other=photos[b].name, cosine=round(c, 4), same_pixels=False) for a, b, c in near),
    ]
    return ExampleClasses(
        method=measured.head.candidate.method,
        strength=measured.head.candidate.strength,
        embedded_by="this file" if own_file else "float32 graph",
        photos=tuple(map(int, np.bincount(labels, minlength=count))),
        right=tuple(map(int, np.bincount(labels[right], minlength=count))),
        unreadable=examples.unreadable,
        left_out=examples.left_out,
        folds=len(np.unique(measured.folds)),
        accuracy=share(int(right.sum()), len(labels)),
        confusion=_confusion(labels, told, examples.labels),
        doubts=tuple(
            Doubt(
                photo=photos[index].name,
                label=examples.labels[labels[index]],
                looks_like=examples.labels[told[index]],
                probability=round(float(measured.probabilities[index, told[index]]), 4),
            )
            for index in doubts[:MOST_LISTED]
        ),
        doubtful=len(doubts),
        twins=tuple(pairs[:MOST_LISTED]),
        twin_pairs=len(pairs),
        unknown=None if unknown is None else unknown.facts,
        sha256=examples.sha256,
    )


def _confusion(labels: Numbers, told: Numbers, names: Sequence[str]) -> Confusion | None:
    """The mistake that is made most often: one class taken for one other."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (labels, told), 1)
    np.fill_diagonal(counts, 0)
    label, taken_for = divmod(int(counts.argmax()), len(names))
    photos = int(counts[label, taken_for])
    return Confusion(label=names[label], taken_for=names[taken_for], photos=photos) if photos else None


def _warn(labels: Numbers, unknown: Unknown | None, progress: Progress) -> None:
    fewest = int(np.bincount(labels).min())
    if fewest < _FEW:
        progress.note(f"warning: {fewest} photos of a class are few: give 5 to 100, or the accuracy says little")
    if unknown is not None:
        facts = unknown.facts
        if (1 - facts.refused.share + facts.found.share) / 2 < _CHANCE:
            progress.note(
                "warning: this encoder's embeddings hardly tell known from unknown pictures: "
                "see the report, or leave the class for unknown pictures out"
            )
