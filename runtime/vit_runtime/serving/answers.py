"""Answers pictures: what a request wants of each, the work in a worker, and the record that goes into JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Output
from vit_runtime.artifact.signature import check_finite
from vit_runtime.errors import ImageError
from vit_runtime.model import ViT
from vit_runtime.pictures.preprocess import crop_box, load_with_size
from vit_runtime.searching.index import Index
from vit_runtime.serving.desk import Desk
from vit_runtime.serving.pictures import Picture
from vit_runtime.serving.refusals import no_picture, one_printable_line
from vit_runtime.serving.thumbnails import thumbnail_address
from vit_runtime.vectors import numbers
from vit_runtime.workers.works import Prepared

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request wants of each picture."""

    predictions: bool = False
    embedding: bool = False
    map: bool = False
    nearest: bool = False
    top: int = 5
    """Classes to name."""
    most_nearest: int = 6

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The outputs of the model that it takes."""
        taken: tuple[tuple[Output, bool], ...] = (
            ("logits", self.predictions),
            ("embedding", self.embedding or self.nearest),
            ("rollout", self.map),
        )
        return tuple(output for output, is_taken in taken if is_taken)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A model, and what is wanted of it."""

    model_name: str
    vit: ViT
    desk: Desk
    wanted: Wanted
    index: Index | None = None


async def answer_all(asked: Asked, pictures: Sequence[Picture]) -> list[Record]:
    """Gives a record for each picture, in order; one that cannot be read has an "error" where others can.

    Raises:
        Refusal: no picture can be read.
        VitEdgeError: the model cannot compute.
    """
    found = await asyncio.gather(*(_answer(asked, picture) for picture in pictures))
    errors = [record["error"] for record in found if "error" in record]
    if len(errors) == len(found):
        raise no_picture(errors[0])
    return found


async def _answer(asked: Asked, picture: Picture) -> Record:
    read = partial(_read, asked, picture, time.monotonic())
    record = await asked.desk.answer(read, picture.name)
    if isinstance(record, ImageError):
        return {"picture": picture.name, "error": one_printable_line(str(record))}
    return record


def _read(asked: Asked, picture: Picture, sent: float) -> Prepared[Record]:
    """Reads a picture; called in a worker."""
    begun, vit = time.monotonic(), asked.vit
    preprocessing = vit.artifact.preprocessing
    pixels, size_wh = load_with_size(
        picture.content, preprocessing, decode=vit.decode, limits=vit.limits, name=picture.name
    )
    read = time.monotonic()

    def finish(rows: tuple[FloatArray, ...]) -> Record:
        computed = time.monotonic()
        record: Record = {"picture": picture.name, "size": list(size_wh)}
        record |= _described(asked, rows, lambda: crop_box(size_wh, preprocessing))
        spent = {"waiting": begun - sent, "reading": read - begun, "model": computed - read}
        record["milliseconds"] = {step: round(1000 * seconds, 2) for step, seconds in spent.items()}
        return record

    return Prepared(pixels, finish, asked.wanted.outputs)


def _described(
    asked: Asked, rows: tuple[FloatArray, ...], box: Callable[[], tuple[float, float, float, float]]
) -> Record:
    """Puts outputs into words and numbers."""
    wanted, vit = asked.wanted, asked.vit
    by_output = dict(zip(wanted.outputs, rows, strict=True))
    for row in rows:
        check_finite(row, vit.artifact)
    record: Record = {}
    if wanted.predictions:
        record["predictions"] = [vars(each) for each in vit.top(by_output["logits"], top_k=wanted.top)]
    if wanted.embedding:
        record["embedding"] = numbers(by_output["embedding"])
    if wanted.map:
        values = [numbers(row) for row in by_output["rollout"]]
        record["map"] = {"values": values, "box": [round(edge, 3) for edge in box()]}
    if wanted.nearest and asked.index is not None:
        record["nearest"] = _nearest(asked.index, by_output["embedding"], asked)
    return record


def _nearest(index: Index, embedding: FloatArray, asked: Asked) -> list[Record]:
    (matches,) = index.search(embedding[None], asked.wanted.most_nearest)
    assert isinstance(matches, list)  # noqa: S101 - a list for each row
    return [
        {
            "picture": match.name,
            "cosine": match.cosine,
            "thumbnail": thumbnail_address(match.name, asked.model_name),
        }
        for match in matches
    ]
