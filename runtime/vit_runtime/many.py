"""One road for many pictures: for each source, in order, an answer, or the error of what is no picture.

Sources are taken as they are wanted and run in batches; no more than a batch of pictures is read ahead, so that memory
stays flat however many there are. `ViT` and the command line both go this way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

import numpy as np
from PIL import Image

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import ImageError
from vit_runtime.pictures.preprocess import fit
from vit_runtime.pictures.reading import ImageSource, read_rgb, source_name

if TYPE_CHECKING:
    from typing import TypeGuard

ImageSources: TypeAlias = "ImageSource | Iterable[ImageSource]"
Keep: TypeAlias = Callable[[ImageSource], ImageSource]
"""What is kept of a source until its answer is there."""
_Error = TypeVar("_Error", bound=ImageError)

DEFAULT_BATCH_SIZE: Final = 8
"""Pictures in one run: larger batches gain nothing on a few CPU cores and cost memory."""
_MOST_WAITING: Final = 8
"""Sources that may wait, in batches: one that is no picture takes no place in a batch, but waits for the pictures in
front of it."""
_WHOSE_FRAMES: Final = ("vit_runtime", "PIL")
"""Packages whose frames hold what they have decoded."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of one picture."""

    source: ImageSource
    """The picture, as it was given."""
    values: FloatArray
    """The output's row: logits float32 (classes,), embedding (width,), or rollout (h, w)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that waits for its answer."""

    source: ImageSource
    pixels: UInt8Array
    """uint8 RGB (H, W, 3), prepared for the model."""


def is_one(images: ImageSources) -> TypeGuard[ImageSource]:
    """Whether this is one picture: whatever can be one, and whatever nothing can be taken from."""
    one = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Image.Image))
    return one or hasattr(images, "read") or not isinstance(images, Iterable)


def sources_of(images: ImageSources) -> Iterable[ImageSource]:
    """The sources one by one, also of one picture."""
    return [images] if is_one(images) else cast("Iterable[ImageSource]", images)


def read_picture(source: ImageSource, preprocessing: Preprocessing, keep: Keep | None = None) -> Picture:
    """Reads and prepares a picture, from what is kept of its source: without `keep` the source itself.

    Raises:
        ImageError: it is no picture.
    """
    kept = source if keep is None else keep(source)
    return Picture(kept, fit(read_rgb(kept), preprocessing, source_name(source)))


def read_each(
    sources: Iterable[ImageSource], preprocessing: Preprocessing, keep: Keep | None = None
) -> Iterator[Picture | ImageError]:
    """Reads and prepares picture after picture; what is none becomes its error."""
    for source in sources:
        try:
            picture: Picture | ImageError = read_picture(source, preprocessing, keep)
        except ImageError as error:
            picture = error
        if isinstance(picture, ImageError):
            _empty_frames(picture)
        yield picture


def answer_each(
    pictures: Iterable[Picture | _Error], compute: Callable[[UInt8Array], FloatArray], batch_size: int
) -> Iterator[Answer | _Error]:
    """The answer to each picture, in order, with the errors among them where they stand.

    Args:
        pictures: all of one size. No more than `batch_size` wait for answers at a time, with the errors in between.
        compute: pixels (N, H, W, 3) to an output (N, ...), N from 1 to `batch_size`.
        batch_size: how many run together; at the end it may be fewer, and where more than seven times as many errors
            wait with them.
    """
    waiting: list[Picture | _Error] = []
    readable = 0
    for picture in pictures:
        waiting.append(picture)
        readable += isinstance(picture, Picture)
        # An error that waits for nothing goes on at once.
        if readable in (0, batch_size) or len(waiting) == _MOST_WAITING * batch_size:
            yield from _answered(waiting, compute)
            waiting, readable = [], 0
    yield from _answered(waiting, compute)


def _answered(
    waiting: list[Picture | _Error], compute: Callable[[UInt8Array], FloatArray]
) -> Iterator[Answer | _Error]:
    """Answers what waits, and lets go of each picture with its answer."""
    pixels = [picture.pixels for picture in waiting if isinstance(picture, Picture)]
    try:
        rows = iter(compute(np.stack(pixels)) if pixels else ())
    except BaseException:  # Ctrl-C too: what is known already is told first
        yield from (picture for picture in waiting if not isinstance(picture, Picture))
        raise
    del pixels
    waiting.reverse()
    while waiting:
        picture = waiting.pop()
        yield Answer(picture.source, next(rows)) if isinstance(picture, Picture) else picture


def _empty_frames(error: BaseException) -> None:
    """Frees what the frames of a traceback still hold, a whole decoded photo maybe; it can be shown all the same.

    Only our own frames and Pillow's: to empty a caller's would end his generator, or hide what he looks for.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:  # causes can go in a circle
        seen.add(id(cause))
        step = cause.__traceback__
        while step is not None:
            if step.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _WHOSE_FRAMES:
                with suppress(RuntimeError):  # still running
                    step.tb_frame.clear()
            step = step.tb_next
        cause = cause.__cause__ or cause.__context__
