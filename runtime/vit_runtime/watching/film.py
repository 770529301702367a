"""Reads a video file from its first frame to its last: all frames, or one in so many seconds; none is lost."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from vit_runtime.errors import ImageError
from vit_runtime.watching.frames import Shot, upright
from vit_runtime.watching.opening import import_av, opened, packets
from vit_runtime.watching.sources import Source
from vit_runtime.wording import plural

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_ROUNDING: Final = 1e-6
"""Seconds by which times may differ that are the same: 0.3 is not three times 0.1 in binary."""
_MISSING: Final = 1.0
"""Seconds that a film may end before its header says; more is a file that was cut off."""


@dataclass
class _Progress:
    """How far a film has been decoded."""

    frames: int = 0
    damaged: int = 0
    first: float = 0.0
    """Time of the first frame; films out of a longer recording begin late."""
    end: float = 0.0
    """Where the last frame ends, in seconds since the first."""


def film_shots(source: Source, every: float | None, seconds: float | None) -> Generator[Shot, None, None]:
    """Gives frames of a video file in order; the next one is decoded when it is wanted.

    Args:
        source: the file.
        every: seconds of video from one frame to the next; the first frame at or behind each multiple is taken. None
            takes all frames.
        seconds: how much of the video to look at; None is all of it.

    Raises:
        ImageError: it is no video, has no frame, or, behind its last frame, parts of it are damaged or missing.
    """
    due = 0.0
    progress = _Progress()
    with opened(source, None) as (container, stream):
        stream.thread_type = "AUTO"  # the next frames are decoded while the model computes
        with closing(_decoded(source, container, stream, progress)) as frames:
            for frame, position in frames:
                if seconds is not None and position >= seconds:
                    return
                if every is not None:
                    if position + _ROUNDING < due:
                        continue
                    due = ((position + _ROUNDING) // every + 1) * every
                yield Shot(datetime.now(timezone.utc), position, upright(frame, source.shown))
        _check_end(source, container, stream, progress)


def _decoded(
    source: Source, container: InputContainer, stream: VideoStream, progress: _Progress
) -> Generator[tuple[VideoFrame, float], None, None]:
    """Gives each frame that can be decoded and its position in seconds; counts what is damaged."""
    invalid = import_av().error.InvalidDataError
    step = float(1 / (stream.average_rate or Fraction(25)))
    for packet in packets(container, stream, source):
        try:
            frames = packet.decode()
        except invalid:
            progress.damaged += 1
            continue
        for frame in frames:
            # Raw streams have no times, so that frames are counted.
            time = progress.frames * step if frame.pts is None else frame.time
            if progress.frames == 0:
                progress.first = time
            progress.frames += 1
            position = time - progress.first
            progress.end = position + (float(frame.duration * (stream.time_base or 0)) or step)
            yield frame, position


def _check_end(source: Source, container: InputContainer, stream: VideoStream, progress: _Progress) -> None:
    remedy = "the file may be damaged or cut off"
    if not progress.frames:
        raise ImageError(source.shown, "no frame of it can be decoded", remedy)
    if progress.damaged:
        raise ImageError(source.shown, f"{plural(progress.damaged, 'frame')} cannot be decoded", remedy)
    promised = float(stream.duration * (stream.time_base or 0)) if stream.duration else 0.0
    if not promised and len(container.streams) == 1 and container.duration:  # of sound and pictures, one may be longer
        promised = container.duration / 1_000_000
    if promised - progress.end > _MISSING:
        raise ImageError(source.shown, f"ends after {progress.end:.1f} of {promised:.1f} s", remedy)
