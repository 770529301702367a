"""Gives the newest frame of a live source whenever one is wanted, and connects again where it was lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

from vit_runtime.errors import ImageError
from vit_runtime.pictures.limits import TOO_LARGE
from vit_runtime.pictures.reading import ImageSource, read_rgb
from vit_runtime.watching.frames import Shot, upright
from vit_runtime.watching.reader import Arrived, Reader
from vit_runtime.watching.sources import Source

_LOG: Final = logging.getLogger("vit_runtime")
_GRACE: Final = 1.0
"""Seconds more than FFmpeg gets to notice by itself that nothing comes: it knows better why."""
_LOOK: Final = 0.5
"""Seconds from one look at the clock to the next while nothing comes."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a live source, and what to do where it fails."""

    timeout: float = 10.0
    """Seconds without connection or without a frame, until it counts as lost."""
    reconnect: bool = True
    """Whether to connect again after it was lost; the first connection has to succeed."""
    first_delay: float = 1.0
    """Seconds before the first try; each further one waits twice as long, until a frame comes."""
    longest_delay: float = 30.0


def live_shots(
    source: Source, every: float | None, seconds: float | None, patience: Patience
) -> Generator[Shot, None, None]:
    """Gives the newest frame each time that one is wanted; frames in between are dropped.

    Args:
        source: a camera or an address.
        every: seconds from one frame to the next; None gives a frame as soon as it is there.
        seconds: how long to watch; None is for ever.
        patience: timeouts, and whether to connect again.

    Raises:
        ImageError: the first connection fails, or a later one without `reconnect`.
    """
    watch = _Watch(source, every, seconds, patience)
    delay = patience.first_delay
    has_seen_any = False
    while True:
        try:
            for shot in watch.connection():
                has_seen_any, delay = True, patience.first_delay
                yield shot
        except ImageError as error:
            if not (has_seen_any and patience.reconnect):
                raise
            _LOG.info("%s; connects again in %g s", error, delay)
        if watch.rest(delay) <= 0:
            return
        time.sleep(watch.rest(delay))
        delay = min(2 * delay, patience.longest_delay)


class _Watch:
    """What stays the same over all connections: the clock, and when the next frame is due."""

    def __init__(self, source: Source, every: float | None, seconds: float | None, patience: Patience) -> None:
        self._source, self._every, self._patience = source, every, patience
        self._began = self._due = time.monotonic()
        self._fault = ""
        self._end = None if seconds is None else self._began + seconds

    def rest(self, wait: float) -> float:
        """How long to wait at most: `wait` seconds, or until the end."""
        return wait if self._end is None else min(wait, self._end - time.monotonic())

    def connection(self) -> Iterator[Shot]:
        """Gives frames from one connection until the time is over.

        Raises:
            ImageError: the connection fails or is lost.
        """
        reader = Reader(self._source, self._patience.timeout)
        silent_since = time.monotonic()
        try:
            while self.rest(1.0) > 0:
                if (early := self._due - time.monotonic()) > 0:
                    time.sleep(self.rest(early))
                    silent_since = time.monotonic()
                    continue
                arrived = reader.newest(self.rest(_LOOK))
                picture = None if arrived is None else self._picture(arrived)
                if arrived is None or picture is None:
                    self._check_silence(time.monotonic() - silent_since, reader)
                    continue
                if self._every is not None:  # a frame that came late does not make the next ones come faster
                    self._due = max(self._due + self._every, time.monotonic())
                yield Shot(arrived.time, arrived.moment - self._began, picture)
                silent_since = time.monotonic()  # the model's time is not the camera's silence
        finally:
            reader.stop()

    def _picture(self, arrived: Arrived) -> ImageSource | None:
        """The picture of a frame; None where it is damaged, or as old as a lost connection.

        Raises:
            ImageError: it has too many pixels, as the next ones will.
        """
        if time.monotonic() - arrived.moment > self._patience.timeout:
            return None
        if not isinstance(arrived.content, bytes):
            return upright(arrived.content, self._source.shown)
        try:
            return read_rgb(arrived.content)
        except ImageError as error:
            if error.what.startswith(TOO_LARGE):
                raise ImageError(self._source.shown, error.what, error.remedy) from error
            self._fault = error.what
            return None

    def _check_silence(self, seconds: float, reader: Reader) -> None:
        """Calls a connection lost that brings no good frame; FFmpeg has its timeout twice while it connects."""
        patience = self._patience.timeout * (1 if reader.is_open else 2) + _GRACE
        if seconds > patience:
            fault = f" (the last one {self._fault})" if self._fault else ""
            raise ImageError(self._source.shown, f"brings no picture that can be read for {seconds:.0f} s{fault}")
