"""Answers any number of pictures: each source gives, in order, an answer, or an error if it is no picture.

Sources are read when their answers are wanted, and run in batches. No more than a batch of pictures is read ahead, so
memory stays flat for any number of them. `ViT` and the command line both use this module.
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
"""A function that takes a source, and gives what is kept of it until its answer is there."""
_Error = TypeVar("_Error", bound=ImageError)

DEFAULT_BATCH_SIZE: Final = 8
"""Pictures in one run: larger batches gain nothing on a few CPU cores and cost memory."""
_MOST_WAITING: Final = 8
"""Most pictures and errors that wait together, in batches. An error takes no place in a batch, but it waits for the
pictures in front of it."""
_WHOSE_FRAMES: Final = ("vit_runtime", "PIL")
"""Packages whose stack frames may hold a decoded picture."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer for one picture."""

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
    """Whether this is one picture: anything that can be a picture, or that cannot be iterated over."""
    one = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Image.Image))
    return one or hasattr(images, "read") or not isinstance(images, Iterable)


def sources_of(images: ImageSources) -> Iterable[ImageSource]:
    """Gives the sources one by one; a single picture becomes a list of one."""
    return [images] if is_one(images) else cast("Iterable[ImageSource]", images)


def read_picture(source: ImageSource, preprocessing: Preprocessing, keep: Keep | None = None) -> Picture:
    """Reads and prepares a picture from `keep(source)`, or without `keep` from the source itself.

    Raises:
        ImageError: the source is no picture.
    """
    kept = source if keep is None else keep(source)
    return Picture(kept, fit(read_rgb(kept), preprocessing, source_name(source)))


def read_each(
    sources: Iterable[ImageSource], preprocessing: Preprocessing, keep: Keep | None = None
) -> Iterator[Picture | ImageError]:
    """Reads and prepares one picture after the other; a source that is no picture becomes an error."""
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
    """Gives the answer to each picture, in order; errors among the pictures keep their place.

    Args:
        pictures: pictures of one size, and errors. No more than `batch_size` pictures wait for answers at a time,
            together with the errors between them.
        compute: turns pixels (N, H, W, 3) into an output (N, ...); N is from 1 to `batch_size`.
        batch_size: how many pictures run together. Fewer run at the end, and where more than `7 * batch_size` errors
            wait with them.
    """
    waiting: list[Picture | _Error] = []
    readable = 0
    for picture in pictures:
        waiting.append(picture)
        readable += isinstance(picture, Picture)
        # Errors with no picture in front of them are passed on at once.
        if readable in (0, batch_size) or len(waiting) == _MOST_WAITING * batch_size:
            yield from _answered(waiting, compute)
            waiting, readable = [], 0
    yield from _answered(waiting, compute)


def _answered(
    waiting: list[Picture | _Error], compute: Callable[[UInt8Array], FloatArray]
) -> Iterator[Answer | _Error]:
    """Answers the waiting pictures, and frees each one as soon as its answer is taken."""
    pixels = [picture.pixels for picture in waiting if isinstance(picture, Picture)]
    try:
        rows = iter(compute(np.stack(pixels)) if pixels else ())
    except BaseException:  # Ctrl-C too: the errors that are known already go first
        yield from (picture for picture in waiting if not isinstance(picture, Picture))
        raise
    del pixels
    waiting.reverse()
    while waiting:
        picture = waiting.pop()
        yield Answer(picture.source, next(rows)) if isinstance(picture, Picture) else picture


def _empty_frames(error: BaseException) -> None:
    """Frees what a traceback's frames still hold, perhaps a whole decoded photo; the traceback can still be shown.

    Only our own frames and Pillow's are cleared. Clearing a caller's frame would end the caller's generator, or hide
    the variables that the caller looks for.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:  # causes can go in a circle
        seen.add(id(cause))
        step = cause.__traceback__
        while step is not None:
            if step.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _WHOSE_FRAMES:
                with suppress(RuntimeError):  # the frame is still running
                    step.tb_frame.clear()
            step = step.tb_next
        cause = cause.__cause__ or cause.__context__
