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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which pictures a command is to answer, and how."""

    images: Sequence[str]
    decode: Decode = "exact"
    limits: Limits
    batch: int | None = None
    fail_fast: bool = False


class PictureJob:
    """The pictures of a command, and the model that answers them.

    The model is loaded for one picture or for many, as there are.
    """

    def __init__(self, model: Path, choice: Choice, asked: Asked, output: Output) -> None:
        """Looks for the first two pictures, and loads the model.

        Raises:
            VitEdgeError: the model cannot be loaded, or lacks the output.
        """
        self.asked = asked
        self.output: Output = output
        self.failures = 0
        """Pictures that could not be answered so far."""
        self._found = find(asked.images, most_bytes=_most_bytes(asked.limits), stdin=sys.stdin.buffer)
        # What comes on stdin may come an hour from now: the model is loaded meanwhile.
        first = [] if STDIN in asked.images else list(islice(self._found, 2))
        self.is_single = len(first) == 1
        """Whether there is no more than one picture."""
        self._items: Iterable[Found | Waiting] = chain(first, self._found)
        purpose: Purpose = "latency" if self.is_single else "throughput"
        self.vit = load_model(model, choice, output, purpose=purpose, decode=asked.decode, limits=asked.limits)

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
            pixels = load_pixels(
                _source(found), preprocessing, decode=asked.decode, limits=asked.limits, name=found.name
            )
            return Prepared(pixels, lambda row: answer(found.name, row))

        items = (item for item in self._items if item is WAITING or not skip(item.name))
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
        answered, total = 0, None if STDIN in self.asked.images else self._count
        with Stopping() as stopping, progress(total or _unknown, wanted=bar and not self.is_single) as advance:
            taken = stopping.until_asked(items)
            batch, ahead = self.asked.batch, 1 if self.is_single else ahead
            for result in self.vit.stream(taken, self.output, read, name, batch_size=batch, ahead=ahead):
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

    def items(self) -> Iterable[Found | Waiting]:
        """The pictures that were found; to be taken once."""
        return self._items

    def exit_if_failed(self) -> None:
        """Ends the command with the exit status for bad input, if a picture could not be answered."""
        if self.failures:
            raise typer.Exit(EXIT_INPUT)

    def _count(self) -> int | None:
        """Counts the pictures by looking for them once more."""
        found = find(self.asked.images, most_bytes=_most_bytes(self.asked.limits))
        return sum(1 for _ in found)


def _source(found: Found) -> str | Path | bytes:
    if found.error is not None:
        raise found.error
    return found.source


def _most_bytes(limits: Limits) -> int:
    return sys.maxsize if limits.bytes is None else limits.bytes


def _unknown() -> int | None:
    return None
