"""Runs a model over the pictures of a command, many at a time, and goes on after those that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final, TypeVar

import typer

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Output
from vit_runtime.command_line.console import complain
from vit_runtime.command_line.progress import progress
from vit_runtime.command_line.running import Choice, load_model
from vit_runtime.command_line.stopping import Stopping
from vit_runtime.devices.purpose import Purpose
from vit_runtime.errors import EXIT_INPUT, ImageError
from vit_runtime.model import answer_items
from vit_runtime.pictures.limits import Limits
from vit_runtime.pictures.preprocess import Decode, load_pixels
from vit_runtime.sources.finding import find
from vit_runtime.sources.source import Found
from vit_runtime.waiting import WAITING, Waiting
from vit_runtime.workers.stream import Prepared

_Result = TypeVar("_Result")
_Item = TypeVar("_Item")

STDIN: Final = "-"
"""What stands for a list of paths on stdin."""


class Pictures:
    """The pictures that a command names, found one after the other; they can be taken once."""

    def __init__(self, images: Sequence[str], limits: Limits) -> None:
        """Looks for the first two.

        Args:
            images: what the user named.
            limits: what a picture may cost.
        """
        self.limits = limits
        self.is_live = STDIN in images
        """Whether some are named on stdin, perhaps an hour from now."""
        self._images = images
        found = self._find()
        first = [] if self.is_live else list(islice(found, 2))
        self.is_single = len(first) == 1
        """Whether there is no more than one picture."""
        self._items = chain(first, found)

    def __iter__(self) -> Iterator[Found | Waiting]:
        return self._items

    def count(self) -> int | None:
        """Counts the pictures by looking for them once more; None where nobody knows."""
        return None if self.is_live else sum(1 for _ in self._find())

    def _find(self) -> Iterator[Found | Waiting]:
        most = sys.maxsize if self.limits.bytes is None else self.limits.bytes
        return find(self._images, most_bytes=most, stdin=sys.stdin.buffer if self.is_live else None)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a command is to answer pictures."""

    pictures: Pictures
    decode: Decode = "exact"
    batch: int | None = None
    fail_fast: bool = False


class PictureJob:
    """The pictures of a command, and the model that answers them.

    The model is loaded for one picture or for many, as there are.
    """

    def __init__(self, model: Path, choice: Choice, asked: Asked, output: Output) -> None:
        """Loads the model.

        Raises:
            VitEdgeError: the model cannot be loaded, or lacks the output.
        """
        self.asked = asked
        self.output: Output = output
        self.failures = 0
        """Pictures that could not be answered so far."""
        purpose: Purpose = "latency" if asked.pictures.is_single else "throughput"
        limits = asked.pictures.limits
        self.vit = load_model(model, choice, output, purpose=purpose, decode=asked.decode, limits=limits)

    def records(
        self,
        answer: Callable[[str, FloatArray], _Result],
        *,
        skip: Callable[[str], bool] = lambda _: False,
        bar: bool = False,
    ) -> Iterator[_Result | ImageError]:
        """Gives `answer(name, row)` for each picture, in order, or its error; ends the command after the last one.

        Errors are shown and counted here. The command ends with the exit status for bad input if there were any.

        Args:
            answer: makes a picture's answer of its name and the output's row; called in a worker.
            skip: whether to leave a picture out, by its name.
            bar: whether a progress bar may be shown.
        """
        preprocessing, asked = self.vit.artifact.preprocessing, self.asked

        def read(found: Found) -> Prepared[_Result]:
            limits = asked.pictures.limits
            pixels = load_pixels(_source(found), preprocessing, decode=asked.decode, limits=limits, name=found.name)
            return Prepared(pixels, lambda row: answer(found.name, row))

        items = (item for item in asked.pictures if item is WAITING or not skip(item.name))
        yield from self.each(items, read, lambda found: found.name, bar=bar)

    def each(
        self,
        items: Iterable[_Item | Waiting],
        read: Callable[[_Item], Prepared[_Result]],
        name: Callable[[_Item], str],
        *,
        ahead: int | None = None,
        bar: bool = False,
    ) -> Iterator[_Result | ImageError]:
        """Answers items of any kind, as `records` does for pictures."""
        answered, pictures = 0, self.asked.pictures
        with Stopping() as stopping, progress(pictures.count, wanted=bar and not pictures.is_single) as advance:
            taken = stopping.until_asked(items)
            batch, ahead = self.asked.batch, 1 if pictures.is_single else ahead
            for result in answer_items(self.vit, taken, self.output, read, name, batch_size=batch, ahead=ahead):
                advance()
                answered += 1
                if isinstance(result, ImageError):
                    self.failures += 1
                    complain(result)
                yield result
                if self.failures and self.asked.fail_fast:
                    break
        stopping.exit_if_asked(answered)
        self.exit_if_failed()

    def exit_if_failed(self) -> None:
        """Ends the command with the exit status for bad input, if a picture could not be answered."""
        if self.failures:
            raise typer.Exit(EXIT_INPUT)


def _source(found: Found) -> str | Path | bytes:
    if found.error is not None:
        raise found.error
    return found.source
