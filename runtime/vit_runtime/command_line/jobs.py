"""Runs a model over the pictures of a command, many at a time, and goes on after those that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import typer

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Output
from vit_runtime.artifact.signature import check_finite
from vit_runtime.command_line.console import complain, note
from vit_runtime.command_line.progress import progress
from vit_runtime.command_line.running import Choice, load_model
from vit_runtime.command_line.stopping import Stopping
from vit_runtime.devices.purpose import Purpose
from vit_runtime.devices.room import workers_with_room
from vit_runtime.errors import EXIT_INPUT, ImageError
from vit_runtime.model import answer_items
from vit_runtime.pictures.limits import Limits
from vit_runtime.pictures.preprocess import Decode, load_pixels
from vit_runtime.pictures.reading import encoded_bytes
from vit_runtime.sources.finding import find
from vit_runtime.sources.source import Found
from vit_runtime.waiting import WAITING, Waiting
from vit_runtime.wording import plural
from vit_runtime.workers.works import Prepared

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
        self._found = self._find()
        self._first = [] if self.is_live else list(islice(self._found, 2))
        self.is_single = len(self._first) == 1
        """Whether there is no more than one picture."""

    def __iter__(self) -> Iterator[Found | Waiting]:
        while self._first:  # let go of as they are given: they can be large where they come from an archive
            yield self._first.pop(0)
        yield from self._found

    def count(self) -> int | None:
        """Counts the pictures by looking for them once more.

        None where that is not known: stdin can be read once, and an archive is unpacked to be looked through.
        """
        if self.is_live:
            return None
        count = 0
        for found in self._find():
            if isinstance(found, Found) and isinstance(found.source, bytes) and found.error is None:
                return None
            count += 1
        return count

    def _find(self) -> Iterator[Found | Waiting]:
        most = sys.maxsize if self.limits.bytes is None else self.limits.bytes
        return find(self._images, most_bytes=most)


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
        self.answered = 0
        """Pictures so far, with those that could not be answered."""
        self.failures = 0
        """Pictures that could not be answered so far."""
        self._stopping = Stopping(patient=not asked.pictures.is_single)
        purpose: Purpose = "latency" if asked.pictures.is_single else "throughput"
        limits = asked.pictures.limits
        self.vit = load_model(model, choice, output, purpose=purpose, decode=asked.decode, limits=limits)
        if not asked.pictures.is_single and (room := workers_with_room(self.vit.workers)) < self.vit.workers:
            note(f"memory is short: {plural(room, 'picture')} at a time")

    def records(
        self,
        answer: Callable[[str, FloatArray], _Result],
        *,
        takes: Callable[[str], bool] = lambda _: True,
        before: int = 0,
        bar: bool = False,
    ) -> Generator[_Result | ImageError, None, None]:
        """Gives `answer(name, row)` for each picture, in order, or its error, which is shown and counted here.

        Close it where it is left before its end: this ends the threads and the progress bar.

        Args:
            answer: makes a picture's answer of its name and the output's row; called in a worker.
            takes: whether to answer a picture, by its name; asked once for each.
            before: how many are left out.
            bar: whether a progress bar may be shown.
        """
        items = (item for item in self.asked.pictures if item is WAITING or takes(item.name))

        def read(found: Found) -> Prepared[_Result]:
            return Prepared(self.pixels(found), lambda row: answer(found.name, self.sound(row)))

        return self.each(items, read, lambda found: found, before=before, bar=bar)

    def pixels(self, found: Found) -> UInt8Array:
        """Reads and prepares a picture: uint8 RGB (H, W, 3).

        Raises:
            ImageError: it cannot be read.
        """
        if found.error is not None:
            raise found.error
        asked = self.asked
        preprocessing, limits = self.vit.artifact.preprocessing, asked.pictures.limits
        return load_pixels(found.source, preprocessing, decode=asked.decode, limits=limits, name=found.name)

    def sound(self, row: FloatArray) -> FloatArray:
        """Gives an output's row, which must be finite: neither JSON nor a table has a word for what is not.

        Raises:
            ArtifactError: it is not.
        """
        check_finite(row, self.vit.artifact)
        return row

    def each(
        self,
        items: Iterable[_Item | Waiting],
        read: Callable[[_Item], Prepared[_Result]],
        found: Callable[[_Item], Found],
        *,
        ahead: int | None = None,
        before: int = 0,
        bar: bool = False,
    ) -> Generator[_Result | ImageError, None, None]:
        """Answers items of any kind, as `records` does for pictures; `found` gives the picture of an item."""
        pictures, batch = self.asked.pictures, self.asked.batch
        many = not pictures.is_single

        def count() -> int | None:
            total = pictures.count()
            return None if total is None else max(0, total - before)

        with progress(count, wanted=bar and many) as advance, self._stopping:
            taken = self._stopping.until_asked(items)
            ahead = ahead if many else 1
            answers = answer_items(
                self.vit,
                taken,
                self.output,
                read,
                lambda item: found(item).name,
                batch_size=batch,
                ahead=ahead,
                size=lambda item: encoded_bytes(found(item).source),
            )
            with closing(answers):
                for result in answers:
                    advance()
                    self.answered += 1
                    if isinstance(result, ImageError):
                        self.failures += 1
                        complain(result)
                    yield result
                    if self.failures and self.asked.fail_fast:
                        break

    @property
    def is_stopped(self) -> bool:
        """Whether the command was told to end before its last picture."""
        return self._stopping.is_asked

    def end(self) -> None:
        """Ends the command with the exit status that its pictures lead to, unless all is well."""
        self._stopping.exit_if_asked(self.answered)
        if self.failures:
            raise typer.Exit(EXIT_INPUT)
