"""Reads example photos, several at a time, and gives what an encoder makes of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from vit_export.errors import ExamplesError
from vit_export.heads.folder import LEAST_PHOTOS, ClassFolder
from vit_export.heads.linear_head import Numbers
from vit_export.progress import Progress
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Twins
from vit_runtime.devices.room import workers_with_room
from vit_runtime.errors import ArtifactError, ImageError
from vit_runtime.graph import Graph
from vit_runtime.pictures.limits import LIMITS
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.wording import plural
from vit_runtime.workers.stream import stream
from vit_runtime.workers.works import Plan, Prepared

_BATCH: Final = 8
"""Pictures in one run of an accelerator."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo as the encoder saw it."""

    name: str
    """Its folder and its own name, as text."""
    label: int
    """The number of its class."""
    sha256: str
    """Of the prepared pixels."""
    embedding: FloatArray
    """float32 (E,)."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Photos that can be read, each of them once."""

    labels: tuple[str, ...]
    photos: tuple[Photo, ...]
    unreadable: int
    same: tuple[Twins, ...]
    """Photos with the same pixels as another."""
    left_out: int

    @property
    def of(self) -> Numbers:
        """The class of each photo (N,)."""
        return np.array([photo.label for photo in self.photos], np.int64)

    @property
    def embeddings(self) -> FloatArray:
        """The embeddings, float32 (N, E)."""
        return np.stack([photo.embedding for photo in self.photos])

    @property
    def sha256(self) -> str:
        """Digest of the prepared pixels, in order."""
        return hashlib.sha256("".join(photo.sha256 for photo in self.photos).encode()).hexdigest()


def see(classes: Sequence[ClassFolder], graph: Graph, root: Path, progress: Progress) -> Examples:
    """Reads photos and asks an encoder for their embeddings.

    A photo that is there twice counts once. One that is in two classes counts for neither, since only one can be right.

    Raises:
        ExamplesError: too few photos of a class can be read.
        ArtifactError: the encoder has no embedding, or its embeddings are NaN or infinite.
        ProviderError: the encoder cannot compute them.
    """
    graph.require("embedding")
    found = [(path, label) for label, folder in enumerate(classes) for path in folder.photos]
    progress.stage(f"reading {plural(len(found), 'example photo')}", total=len(found))
    seen: list[Photo] = []
    with closing(_answers(found, root, graph)) as answers:
        for answer in answers:
            if isinstance(answer, ImageError):
                progress.note(f"skipped: {answer}")
            else:
                seen.append(answer)
            progress.advance(1)
    if not all(np.isfinite(photo.embedding).all() for photo in seen):
        raise ArtifactError(graph.description.model, "gives NaN or infinite embeddings", "check its weights")
    photos, same = _each_once(seen, progress)
    _check_enough(classes, photos, root)
    return Examples(
        labels=tuple(folder.label for folder in classes),
        photos=tuple(photos),
        unreadable=len(found) - len(seen),
        same=tuple(same),
        left_out=len(seen) - len(photos),
    )


def _answers(found: Sequence[tuple[Path, int]], root: Path, graph: Graph) -> Generator[Photo | ImageError, None, None]:
    preprocessing = graph.description.preprocessing

    def read(item: tuple[Path, int]) -> Prepared[Photo]:
        path, label = item
        pixels = load_pixels(path, preprocessing, limits=LIMITS)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        return Prepared(pixels, partial(_photo, _name(path, root), label, digest))

    def compute(pixels: UInt8Array) -> FloatArray:
        return graph.run(pixels, ["embedding"])[0]

    batch_size = _BATCH if graph.threads is None else 1
    plan = Plan(workers=workers_with_room(graph.workers), batch_size=batch_size, seconds=LIMITS.seconds)
    return stream(found, read, compute, plan, lambda item: str(item[0]))


def _photo(name: str, label: int, sha256: str, embedding: FloatArray) -> Photo:
    return Photo(name=name, label=label, sha256=sha256, embedding=embedding)


def _name(path: Path, root: Path) -> str:
    """The path below the folder of examples, as text that a document can hold."""
    return os.fsencode(path.relative_to(root).as_posix()).decode(errors="backslashreplace")


def _each_once(seen: Sequence[Photo], progress: Progress) -> tuple[list[Photo], list[Twins]]:
    """Leaves out photos with the same pixels as another: all but the first, or all if they are of several classes."""
    by_pixels: dict[str, list[Photo]] = {}
    for photo in seen:
        by_pixels.setdefault(photo.sha256, []).append(photo)
    taken: list[Photo] = []
    pairs: list[Twins] = []
    across: list[str] = []
    for first, *others in by_pixels.values():
        pairs += [Twins(photo=first.name, other=other.name, cosine=1.0, same_pixels=True) for other in others]
        other = next((other for other in others if other.label != first.label), None)
        if other is None:
            taken.append(first)
            continue
        across.append(f"{first.name} and {other.name}")
    if across:
        count = "1 photo is" if len(across) == 1 else f"{len(across):,} photos are"
        progress.note(f"warning: {count} in several classes and left out, since only one can be right: {across[0]}")
    return taken, pairs


def _check_enough(classes: Sequence[ClassFolder], photos: Sequence[Photo], root: Path) -> None:
    for label, folder in enumerate(classes):
        count = sum(photo.label == label for photo in photos)
        if count < LEAST_PHOTOS:
            there = len(folder.photos)
            left = f"{count or 'none'} of {there} can be used" if count < there else f"{plural(count, 'photo')}"
            what = f"'{folder.label}' has too few photos ({left}): {LEAST_PHOTOS} are the least, 5 or more are better"
            raise ExamplesError(root, what, "add photos of it, each another one")
