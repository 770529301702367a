"""`ViT`: a loaded artifact that answers for pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact, Output
from vit_runtime.artifact.signature import empty_answer
from vit_runtime.checks import whole_number
from vit_runtime.devices.session import OpenedSession
from vit_runtime.errors import ArtifactError, ImageError
from vit_runtime.graph import Graph
from vit_runtime.heatmap import AttentionMap, keep
from vit_runtime.many import (
    DEFAULT_BATCH_SIZE,
    Answer,
    ImageSources,
    Picture,
    answer_each,
    is_one,
    read_each,
    read_picture,
    sources_of,
)
from vit_runtime.pictures.reading import ImageSource, read_rgb
from vit_runtime.vectors import normalized

_Error = TypeVar("_Error", bound=ImageError)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One class that a model sees in a picture."""

    index: int
    label: str
    """The class's name; "class 7" where the artifact has no labels."""
    probability: float
    """Softmax over all classes, 0 to 1."""


class ViT(Graph):
    """A Vision Transformer in an onnxruntime session.

    Methods that take images accept one picture (see `ImageSource`), or any number of them in a list, tuple, generator
    or other iterable. They raise `ImageError` for a source that is no picture; `answers` and `maps` give the error in
    the answer's place instead. Several pictures run in batches; an empty list gives an empty answer of the right shape.

    A `ViT` is safe to use from several threads. `close`, or a `with` block, gives its memory back. It cannot be
    pickled: with `multiprocessing`, load it in each process, for example in the pool's `initializer`.
    """

    def __init__(self, artifact: Artifact, opened: OpenedSession, path: Path) -> None:
        super().__init__(artifact, opened)
        self.artifact = artifact
        self.path = path
        """The file that the model was loaded from."""

    # To a type checker a str is a sequence of str; here it is one picture.
    @overload
    def classify(self, images: ImageSource, *, top_k: int = ..., batch_size: int = ...) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def classify(
        self, images: Iterable[ImageSource], *, top_k: int = ..., batch_size: int = ...
    ) -> list[list[Prediction]]: ...
    def classify(
        self, images: ImageSources, *, top_k: int = 5, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[Prediction] | list[list[Prediction]]:
        """The likeliest classes, best first: a list for one picture, a list of lists for several."""
        top_k = whole_number("top_k", top_k, least=1)
        logits = self.logits(images, batch_size=batch_size)
        predictions = [self.top(row, top_k=top_k) for row in logits]
        return predictions[0] if is_one(images) else predictions

    def logits(self, images: ImageSources, *, batch_size: int = DEFAULT_BATCH_SIZE) -> FloatArray:
        """The scores before the softmax: float32 (N, classes); N is 1 for one picture."""
        return self._compute("logits", images, batch_size)

    def embed(
        self, images: ImageSources, *, normalize: bool = False, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> FloatArray:
        """The class token after the final LayerNorm: float32 (N, width); N is 1 for one picture.

        A model that averages its patches gives that average instead. With `normalize` each row has length 1, so the
        product of two rows is their cosine.
        """
        embeddings = self._compute("embedding", images, batch_size)
        return normalized(embeddings) if normalize else embeddings

    @overload
    def attend(self, images: ImageSource, *, batch_size: int = ...) -> AttentionMap: ...  # type: ignore[overload-overlap]
    @overload
    def attend(self, images: Iterable[ImageSource], *, batch_size: int = ...) -> list[AttentionMap]: ...
    def attend(
        self, images: ImageSources, *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> AttentionMap | list[AttentionMap]:
        """Where the model looked, by attention rollout: a map for one picture, a list of maps for several.

        Raises:
            ArtifactError: the model was exported without attention maps.
        """
        preprocessing = self.artifact.preprocessing
        photos = (read_picture(source, preprocessing, keep) for source in sources_of(images))
        answers = self._answer_each(photos, "rollout", batch_size)
        maps = [AttentionMap(answer.values, answer.source, preprocessing) for answer in answers]
        return maps[0] if is_one(images) else maps

    def answers(
        self, images: ImageSources, output: Output, *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Iterator[Answer | ImageError]:
        """Gives one output for each picture, in order, and the error in its place for a source that is no picture.

        Pictures are read when their answers are wanted, so memory stays flat for any number of them. An exception that
        `images` itself raises is passed on; pictures that were read for the same batch get no answer then.

        Raises:
            ArtifactError: the model has no such output.
        """
        pictures = read_each(sources_of(images), self.artifact.preprocessing)
        return self._answer_each(pictures, output, batch_size)

    def maps(self, images: ImageSources, *, batch_size: int = 1) -> Iterator[AttentionMap | ImageError]:
        """Gives a map for each picture, in order, as `attend` does, and the error for a source that is no picture.

        Each map keeps its decoded photo in memory for as long as the map itself lives, so that a file, or a pipe, is
        read only once. The map's `source` is that photo, not the source that was given.

        Raises:
            ArtifactError: the model was exported without attention maps.
        """
        preprocessing = self.artifact.preprocessing
        photos = read_each(sources_of(images), preprocessing, read_rgb)
        answers = self._answer_each(photos, "rollout", batch_size)
        return (
            AttentionMap(answer.values, answer.source, preprocessing) if isinstance(answer, Answer) else answer
            for answer in answers
        )

    def top(self, logits: FloatArray, *, top_k: int = 5) -> list[Prediction]:
        """The likeliest classes of one picture's logits (classes,), best first; ties by lower index.

        Raises:
            ArtifactError: the logits are NaN or infinite, so that there is no likeliest class.
        """
        if not np.isfinite(logits).all():
            raise ArtifactError(self.artifact.model, "answers with NaN or infinity", "run vit-run check on its file")
        shifted = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = shifted / shifted.sum()
        labels = self.artifact.labels
        return [
            Prediction(
                index=int(index),
                label=labels[index] if labels is not None else f"class {index}",
                probability=float(probabilities[index]),
            )
            for index in np.argsort(-logits, kind="stable")[:top_k]
        ]

    def _answer_each(
        self, pictures: Iterable[Picture | _Error], output: Output, batch_size: int
    ) -> Iterator[Answer | _Error]:
        self.require(output)
        batch_size = whole_number("batch_size", batch_size, least=1)
        return answer_each(pictures, lambda pixels: self.run(pixels, [output])[0], batch_size)

    def _compute(self, output: Output, images: ImageSources, batch_size: int) -> FloatArray:
        """Gives all answers in one array; raises at the first picture that cannot be read, before it takes the next."""
        preprocessing = self.artifact.preprocessing
        pictures = (read_picture(source, preprocessing) for source in sources_of(images))
        rows = [answer.values for answer in self._answer_each(pictures, output, batch_size)]
        return np.stack(rows) if rows else empty_answer(output, self.artifact)
