"""`ViT`: a loaded artifact that answers for pictures."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, overload

import numpy as np

from vit_runtime.answers import Answer, ImageSources, is_one, sources_of
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Artifact, Output, Probabilities
from vit_runtime.artifact.signature import check_finite, empty_answer
from vit_runtime.checks import whole_number
from vit_runtime.devices.session import OpenedSession
from vit_runtime.errors import ImageError
from vit_runtime.graph import Graph
from vit_runtime.heatmap import AttentionMap, keep
from vit_runtime.pictures.limits import LIMITS, Limits
from vit_runtime.pictures.preprocess import Decode, fit, load_pixels
from vit_runtime.pictures.reading import ImageSource, encoded_bytes, read_rgb, source_name
from vit_runtime.probabilities import kind_of, probabilities
from vit_runtime.vectors import normalized
from vit_runtime.waiting import Waiting
from vit_runtime.workers.stream import answer_one, stream
from vit_runtime.workers.works import Plan, Prepared

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_ACCELERATOR_BATCH: Final = 8
"""Pictures in one run of an accelerator, unless told otherwise: what TensorRT's engine is compiled for."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One class that a model sees in a picture."""

    index: int
    label: str
    """The class's name; "class 7" where the artifact has no labels."""
    probability: float
    """From 0 to 1, of the kind below."""
    kind: Probabilities = "softmax"
    """"softmax": a share, those of all classes add up to 1. "sigmoid": the class's own, whatever the others are."""


class ViT(Graph):
    """A Vision Transformer in an onnxruntime session.

    Methods that take images accept one picture (see `ImageSource`), or any number of them in a list, tuple, generator
    or other iterable. They raise `ImageError` for a source that is no picture; `answers` and `maps` give the error in
    the answer's place instead. An empty list gives an empty answer of the right shape.

    Several pictures are read and computed at a time, by as many threads as `workers` says; answers keep the order of
    the pictures. `batch_size` is the number of pictures in one run: by default 1 where a processor computes, which is
    fastest there, and 8 on an accelerator. The iterable itself is iterated over in the caller's thread, ahead of the
    answers: a picture must stay as it is, and a file open, until its answer is there.

    A `ViT` is safe to use from several threads. `close`, or a `with` block, gives its memory back. It cannot be
    pickled: with `multiprocessing`, load it in each process, for example in the pool's `initializer`.
    """

    def __init__(
        self,
        artifact: Artifact,
        opened: OpenedSession,
        path: Path,
        *,
        decode: Decode = "exact",
        limits: Limits = LIMITS,
    ) -> None:
        super().__init__(artifact, opened)
        self.artifact = artifact
        self.path = path
        """The file that the model was loaded from."""
        self.decode: Decode = decode
        """How pictures are prepared: to the reference's bytes, or fast."""
        self.limits = limits
        """What one picture may cost."""

    @property
    def probability_kind(self) -> Probabilities:
        """What probabilities are: shares of one ("softmax"), or each class's own ("sigmoid")."""
        return kind_of(self.artifact)

    # To a type checker a str is a sequence of str; here it is one picture.
    @overload
    def classify(self, images: ImageSource, *, top_k: int = ..., batch_size: int | None = ...) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def classify(
        self, images: Iterable[ImageSource], *, top_k: int = ..., batch_size: int | None = ...
    ) -> list[list[Prediction]]: ...
    def classify(
        self, images: ImageSources, *, top_k: int = 5, batch_size: int | None = None
    ) -> list[Prediction] | list[list[Prediction]]:
        """The likeliest classes, best first: a list for one picture, a list of lists for several."""
        top_k = whole_number("top_k", top_k, least=1)
        logits = self.logits(images, batch_size=batch_size)
        predictions = [self.top(row, top_k=top_k) for row in logits]
        return predictions[0] if is_one(images) else predictions

    def logits(self, images: ImageSources, *, batch_size: int | None = None) -> FloatArray:
        """The scores before softmax or sigmoid: float32 (N, classes); N is 1 for one picture."""
        return self._compute("logits", images, batch_size)

    def embed(self, images: ImageSources, *, normalize: bool = False, batch_size: int | None = None) -> FloatArray:
        """The class token after the final LayerNorm: float32 (N, width); N is 1 for one picture.

        A model that averages its patches gives that average instead. With `normalize` each row has length 1, so the
        product of two rows is their cosine.
        """
        embeddings = self._compute("embedding", images, batch_size)
        return normalized(embeddings) if normalize else embeddings

    @overload
    def attend(self, images: ImageSource, *, batch_size: int | None = ...) -> AttentionMap: ...  # type: ignore[overload-overlap]
    @overload
    def attend(self, images: Iterable[ImageSource], *, batch_size: int | None = ...) -> list[AttentionMap]: ...
    def attend(self, images: ImageSources, *, batch_size: int | None = None) -> AttentionMap | list[AttentionMap]:
        """Where the model looked, by attention rollout: a map for one picture, a list of maps for several.

        Raises:
            ArtifactError: the model was exported without attention maps.
        """
        maps = _raised(self._maps(images, partial(keep, limits=self.limits), batch_size))
        return maps[0] if is_one(images) else maps

    def answers(
        self, images: ImageSources, output: Output, *, batch_size: int | None = None
    ) -> Iterator[Answer | ImageError]:
        """Gives one output for each picture, in order, and the error in its place for a source that is no picture.

        Pictures are read a few ahead of their answers, so memory stays flat for any number of them. An exception that
        `images` itself raises is passed on, behind the answers of the pictures in front of it.

        Raises:
            ArtifactError: the model has no such output.
        """
        return self._answers(images, output, batch_size)

    def maps(self, images: ImageSources, *, batch_size: int | None = None) -> Iterator[AttentionMap | ImageError]:
        """Gives a map for each picture, in order, as `attend` does, and the error for a source that is no picture.

        Each map keeps its decoded photo in memory for as long as the map itself lives, so that a file, or a pipe, is
        read only once. The map's `source` is that photo, not the source that was given.

        Raises:
            ArtifactError: the model was exported without attention maps.
        """
        return self._maps(images, partial(read_rgb, limits=self.limits), batch_size)

    def top(self, logits: FloatArray, *, top_k: int = 5) -> list[Prediction]:
        """The likeliest classes of one picture's logits (classes,), best first; ties by lower index.

        Raises:
            ArtifactError: the logits are NaN or infinite, so that there is no likeliest class.
        """
        check_finite(logits, self.artifact)
        kind = self.probability_kind
        found = probabilities(logits, kind)
        labels = self.artifact.labels
        return [
            Prediction(
                index=int(index),
                label=labels[index] if labels is not None else f"class {index}",
                probability=float(found[index]),
                kind=kind,
            )
            for index in np.argsort(-logits, kind="stable")[:top_k]
        ]

    def _answers(
        self, images: ImageSources, output: Output, batch_size: int | None
    ) -> Generator[Answer | ImageError, None, None]:
        def read(source: ImageSource) -> Prepared[Answer]:
            pixels = load_pixels(source, self.artifact.preprocessing, decode=self.decode, limits=self.limits)
            return Prepared(pixels, partial(Answer, source))

        return self._stream(images, output, read, batch_size)

    def _maps(
        self, images: ImageSources, kept: Callable[[ImageSource], ImageSource], batch_size: int | None
    ) -> Generator[AttentionMap | ImageError, None, None]:
        """Gives maps that hold what `kept` makes of their sources."""
        preprocessing = self.artifact.preprocessing

        def read(source: ImageSource) -> Prepared[AttentionMap]:
            photo = kept(source)
            pixels = fit(read_rgb(photo, limits=self.limits), preprocessing, source_name(source))
            return Prepared(pixels, lambda values: AttentionMap(values, photo, preprocessing))

        # Decoded photos are large, so few are held at a time; with one ahead there would be no threads.
        return self._stream(images, "rollout", read, batch_size, ahead=max(2, self.workers, batch_size or 1))

    def _stream(
        self,
        images: ImageSources,
        output: Output,
        read: Callable[[ImageSource], Prepared[_Result]],
        batch_size: int | None,
        ahead: int | None = None,
    ) -> Generator[_Result | ImageError, None, None]:
        """Answers pictures; one by itself without threads."""
        sources: Iterable[Any] = sources_of(images)
        ahead = 1 if is_one(images) else ahead
        return answer_items(
            self, sources, output, read, source_name, batch_size=batch_size, ahead=ahead, size=encoded_bytes
        )

    def _compute(self, output: Output, images: ImageSources, batch_size: int | None) -> FloatArray:
        """Gives all answers in one array; raises at the first picture that cannot be read."""
        rows = [answer.values for answer in _raised(self._answers(images, output, batch_size))]
        return np.stack(rows) if rows else empty_answer(output, self.artifact)


def _raised(answers: Generator[_Result | ImageError, None, None]) -> list[_Result]:
    """Gathers answers; raises at the first error among them."""
    with closing(answers):  # else the traceback would hold the workers
        gathered = []
        for answer in answers:
            if isinstance(answer, ImageError):
                raise answer
            gathered.append(answer)
        return gathered


def answer_items(
    model: ViT,
    items: Iterable[_Item | Waiting],
    output: Output,
    read: Callable[[_Item], Prepared[_Result]],
    name: Callable[[_Item], str],
    *,
    batch_size: int | None = None,
    ahead: int | None = None,
    size: Callable[[_Item], int] = lambda _: 0,
) -> Generator[_Result | ImageError, None, None]:
    """Lets a model answer items of any kind; see `vit_runtime.workers.stream.stream`.

    Args:
        model: whose answers.
        items: what is to be answered; `WAITING` among them hands out the answers that are done.
        output: which output of the model.
        read: reads and prepares an item, in a worker.
        name: what to call an item that hangs.
        batch_size: pictures in one run; None for what suits the provider.
        ahead: most items that are read before their answers are taken; with 1, one is done after the other in the
            caller's thread.
        size: how many bytes an item holds in memory; few are read ahead where they are large.

    Raises:
        ArtifactError: the model has no such output.
    """
    model.require(output)
    if batch_size is not None:
        batch_size = whole_number("batch_size", batch_size, least=1)

    def compute(pixels: UInt8Array) -> FloatArray:
        return model.run(pixels, [output])[0]

    if ahead == 1:
        return answer_one(items, read, compute)
    return stream(items, read, compute, replace(plan_of(model, batch_size), ahead=ahead, size=size), name)


def plan_of(model: ViT, batch_size: int | None = None) -> Plan:
    """How many pictures a model works on at a time, and in one run; None for what suits the provider."""
    from vit_runtime.devices.room import workers_with_room  # 5 ms, which a single picture does without

    if batch_size is None:
        batch_size = 1 if model.threads is not None else _ACCELERATOR_BATCH
    return Plan(workers=workers_with_room(model.workers), batch_size=batch_size, seconds=model.limits.seconds)
