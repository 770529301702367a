"""Reads a live source in a thread of its own, as fast as it sends, and keeps nothing but the newest frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from vit_runtime.errors import ImageError
from vit_runtime.watching.opening import import_av, opened, packets
from vit_runtime.watching.sources import Source

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, eq=False)
class Arrived:
    """A frame that came, not yet as pixels: most frames are replaced by the next before anybody looks."""

    time: datetime
    moment: float
    """By `time.monotonic`."""
    content: VideoFrame | bytes
    """Decoded but still YUV; or a JPEG's bytes, since each JPEG can be decoded without those before it."""


class Reader:
    """A thread that reads a source until it ends, fails or is told to stop."""

    def __init__(self, source: Source, timeout: float) -> None:
        self._source = source
        self._timeout = timeout
        self._changed = threading.Condition()
        self._newest: Arrived | None = None
        self._error: Callable[[], Exception] | None = None
        self._stopped = False
        self.is_open = False
        """Whether the source was opened, and frames can come."""
        # A daemon: where FFmpeg waits for a camera, the program can end.
        self._thread = threading.Thread(target=self._run, name="vit-edge watches", daemon=True)
        self._thread.start()

    def newest(self, wait: float) -> Arrived | None:
        """Takes the newest frame, which is taken once; waits up to `wait` seconds for one that nobody took.

        Raises:
            ImageError: the source has ended or failed, and there is no frame left.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._error is not None, max(wait, 0.0))
            taken, self._newest = self._newest, None
            if taken is None and self._error is not None:
                raise self._error()
            return taken

    def stop(self) -> None:
        """Lets the thread end with the next frame that comes, or when its timeout is over; does not wait for that."""
        with self._changed:
            self._stopped = True
            self._newest = None

    def _run(self) -> None:
        try:
            self._read()
            ended: Callable[[], Exception] = partial(ImageError, self._source.shown, "the stream has ended")
        except ImageError as error:
            # Not the error itself: its traceback leads back to this reader, and the circle would hold the last picture.
            ended = partial(ImageError, error.where, error.what, error.remedy)
        except Exception as error:  # whatever it is, it is raised where frames are wanted
            ended = partial(_given, error)
        with self._changed:
            self._error = ended
            self._changed.notify_all()

    def _read(self) -> None:
        invalid = import_av().error.InvalidDataError
        with opened(self._source, self._timeout) as (container, stream):
            is_jpeg = stream.codec_context.name == "mjpeg"
            stream.thread_type = "SLICE"  # threads that take a frame each would hold frames back
            self.is_open = True
            for packet in packets(container, stream, self._source):
                if self._stopped:
                    return
                try:
                    contents = [bytes(packet)] if is_jpeg else packet.decode()
                except invalid:  # damaged on the way, or from before the first whole picture
                    continue
                if contents and contents[-1]:
                    self._keep(contents[-1])

    def _keep(self, content: VideoFrame | bytes) -> None:
        with self._changed:
            if not self._stopped:
                self._newest = Arrived(datetime.now(timezone.utc), time.monotonic(), content)
                self._changed.notify_all()


def _given(error: Exception) -> Exception:
    return error
