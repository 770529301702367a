"""Classes that were fitted to photos: how, and what was measured about them by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

HeadMethod = Literal["logistic regression", "class means", "nearest example"]
"""How a head reads the direction x of an embedding. Logistic regression: W·x + b. Class means: the cosine with each
class's mean, times a scale. Nearest example: the cosine with the most similar photo of each class, times a scale."""
MOST_LISTED: Final = 20
"""Most photos, and most pairs of them, that an artifact names."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A count out of others, with the 95 % interval of its share after Wilson (1927)."""

    count: int
    of: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.of or self.of == 0:
            raise ValueError(f"{self.count} of {self.of} is no share")
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"the interval from {self.low} to {self.high} is none")

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.count / self.of


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Photos of one class that were taken for another."""

    label: str
    taken_for: str
    photos: int


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A photo that looks mislabelled: a head that had not seen it is sure of another class."""

    photo: str
    """Its path below the folder of examples."""
    label: str
    looks_like: str
    probability: float
    """How sure the head is of `looks_like`."""


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Two photos that are one, or nearly so."""

    photo: str
    other: str
    cosine: float
    """Of their embeddings; 1 where their pixels are the same."""
    same_pixels: bool


@dataclass(frozen=True, kw_only=True)
class UnknownClass:
    """A further class, the last one, for pictures of none of the others."""

    threshold: float
    """The class wins where the cosine with the most similar photo is below this."""
    refused: Share
    """Photos of the classes that it took away, by cross-validation."""
    found: Share
    """Photos that it found while their class was left out."""


@dataclass(frozen=True, kw_only=True)
class ExampleClasses:
    """Classes that were fitted to photos, without the one for unknown pictures."""

    method: HeadMethod
    strength: float
    """Logistic regression's C, or the scale of cosines; chosen by cross-validation."""
    embedded_by: Literal["float32 graph", "this file"]
    """What gave the photos' embeddings: the graph in float32, whatever the file's precision, or this very file."""
    photos: tuple[int, ...]
    """Number of photos of each class that the head was fitted to."""
    right: tuple[int, ...]
    """How many of them a head that had not seen them told right, by class."""
    unreadable: int
    left_out: int
    """Photos that are there twice, in one class (one copy was taken) or in several (none was)."""
    folds: int
    accuracy: Share
    confusion: Confusion | None
    """The mistake that is made most often; None where none is made."""
    doubts: tuple[Doubt, ...]
    doubtful: int
    """Number of photos that look mislabelled; at most 20 of them are named."""
    twins: tuple[Twins, ...]
    twin_pairs: int
    unknown: UnknownClass | None
    sha256: str
    """Digest of the prepared pixels of the photos that the head was fitted to, in order."""

    def __post_init__(self) -> None:
        if len(self.photos) != len(self.right):
            raise ValueError(f"{len(self.photos)} numbers of photos and {len(self.right)} of right ones")
        if len(self.doubts) > self.doubtful or len(self.twins) > self.twin_pairs:
            raise ValueError("more photos are named than counted")

    @property
    def classes(self) -> int:
        """Number of classes, with the one for unknown pictures."""
        return len(self.photos) + (self.unknown is not None)
