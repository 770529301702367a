"""`watch`: from a source of frames to answers, one after the other."""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from vit_runtime.checks import whole_number
from vit_runtime.errors import UsageError, option
from vit_runtime.model import Prediction, ViT
from vit_runtime.watching.film import film_shots
from vit_runtime.watching.frames import Shot
from vit_runtime.watching.live import Patience, live_shots
from vit_runtime.watching.opening import import_av
from vit_runtime.watching.smoothing import Smoother
from vit_runtime.watching.sources import Source, parse_source

_PATIENT: Final = Patience()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model sees in a frame."""

    time: datetime
    """When the frame came, in UTC; for a video file, when it was read."""
    position: float
    """Seconds of video since the first frame; of a live source, seconds since watching began."""
    predictions: list[Prediction]
    """The likeliest classes, best first; smoothed, where that is wanted."""


def watch(
    model: ViT,
    source: str | int | os.PathLike[str],
    *,
    every: float | None = None,
    smooth: float | None = None,
    on_change: bool = False,
    top_k: int = 5,
    seconds: float | None = None,
    patience: Patience = _PATIENT,
) -> Generator[Seen, None, None]:
    """Answers for frames of a video file, a camera or a stream.

    A file gives all its frames, or one in `every` seconds of video, each of them answered. A camera or a stream is
    live: the newest frame is answered, and those that came meanwhile are dropped, so that answers never lag behind.
    Live sources are read in a thread of their own, which ends with the generator.

    Args:
        model: a model with logits.
        source: a camera's number or device (`0`, "/dev/video0"), a video file, or an http, https, rtsp or rtsps
            address.
        every: seconds from one frame to the next; None takes every frame of a file, and of a live source as many as
            the model can answer.
        smooth: seconds over which to average probabilities (see `Smoother`); None does not.
        on_change: whether to give only those answers whose likeliest class is another than before, and the first.
        top_k: how many classes to give.
        seconds: how much to watch, in seconds of video for a file, of the clock for a live source; None for all.
        patience: how long to wait for a live source, and whether to connect again when it is lost. Each try to connect
            again is logged to the logger "vit_runtime".

    Raises:
        ImageError: the source cannot be opened, is something else, or is lost; a file's damage is raised behind its
            last frame that can be read.
        MissingDependencyError: PyAV is not installed.
        ArtifactError: the model has no logits.
        UsageError: a number that an option cannot be.
    """
    model.require("logits")
    for name, value in (("every", every), ("smooth", smooth), ("seconds", seconds)):
        _check_seconds(name, value)
    for name in ("timeout", "first_delay", "longest_delay"):
        _check_seconds(name, getattr(patience, name))
    top_k = whole_number("top_k", top_k, least=1)
    import_av()
    shots = _shots(parse_source(source), every, seconds, patience)
    smoother = None if smooth is None else Smoother(smooth, model.probability_kind)
    return _answers(model, shots, smoother, top_k, on_change=on_change)


def _shots(
    source: Source, every: float | None, seconds: float | None, patience: Patience
) -> Generator[Shot, None, None]:
    if source.is_live:
        return live_shots(source, every, seconds, patience)
    return film_shots(source, every, seconds)


def _answers(
    model: ViT, shots: Generator[Shot, None, None], smoother: Smoother | None, top_k: int, *, on_change: bool
) -> Generator[Seen, None, None]:
    before: int | None = None
    with closing(shots):
        for shot in shots:
            (logits,) = model.logits(shot.picture)
            if smoother is not None and np.isfinite(logits).all():  # what is not finite is refused by `top`
                logits = smoother.smoothed(logits, shot.position)
            predictions = model.top(logits, top_k=top_k)
            if not (on_change and predictions[0].index == before):
                yield Seen(time=shot.time, position=shot.position, predictions=predictions)
            before = predictions[0].index


def _check_seconds(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
        raise UsageError(option(name), f"{str(value)[:40]!r} is no number of seconds", "give one above 0")
