"""`vit-run watch`: prints what a model sees in a video, a camera or a stream, line by line."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from vit_runtime.command_line.console import answer, note, report_errors
from vit_runtime.command_line.options import (
    DeviceOption,
    JsonOption,
    ModelArgument,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
)
from vit_runtime.command_line.running import Choice, load_model
from vit_runtime.model import Prediction

SOURCE_VARIABLE: Final = "VIT_EDGE_SOURCE"
"""Environment variable that SOURCE is taken from: what stands on a command line, all users of the machine can read."""
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
"""Exit status after SIGTERM, the same as in shells."""


def watch(
    model: ModelArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            envvar=SOURCE_VARIABLE,
            help="A camera's number (0) or device, a video file, or an rtsp, rtsps, http or https address.",
        ),
    ],
    *,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show.")] = 1,
    as_json: JsonOption = False,
    every: Annotated[
        float | None,
        typer.Option(
            "--every", metavar="SECONDS", help="Time between two frames.", show_default="every frame; live: the newest"
        ),
    ] = None,
    smooth: Annotated[
        float | None, typer.Option("--smooth", metavar="SECONDS", help="Average probabilities over this time.")
    ] = None,
    on_change: Annotated[
        bool, typer.Option("--on-change", help="Print only when another class has become the likeliest.")
    ] = False,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Stop after so many lines.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="SECONDS", help="Stop after this time; of video, where it is a file."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", help="How long a live source may be silent, until it is lost."),
    ] = 10.0,
    reconnect: Annotated[
        bool, typer.Option("--reconnect/--no-reconnect", help="Connect again when a live source was lost.")
    ] = True,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Print what a video, a camera or a stream shows, line by line, as it comes."""
    from vit_runtime.watching import Patience
    from vit_runtime.watching import watch as watch_source

    with report_errors(), _ended_by_sigterm():
        vit = load_model(model, Choice(provider, threads, device, no_profile), "logits")
        answers = watch_source(
            vit,
            source,
            every=every,
            smooth=smooth,
            on_change=on_change,
            top_k=top,
            seconds=seconds,
            patience=Patience(timeout=timeout, reconnect=reconnect),
        )
        for seen in islice(answers, frames):
            if as_json:
                document = {
                    "time": _iso(seen.time),
                    "position": round(seen.position, 3),
                    "predictions": [vars(prediction) for prediction in seen.predictions],
                }
                typer.echo(json.dumps(document, allow_nan=False))
            else:
                answer(f"{_iso(seen.time)}  {', '.join(map(_described, seen.predictions))}")


def _described(prediction: Prediction) -> str:
    return f"{prediction.probability:.1%} {prediction.label}"


def _iso(moment: datetime) -> str:
    """A time in UTC as ISO 8601 with milliseconds, 2026-11-29T08:00:00.123Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Terminated(BaseException):
    """SIGTERM came; no `except Exception` on the way may take it for a fault."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the command as Ctrl-C does, so that what was printed is flushed and the camera is closed."""

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # only there Python takes signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Terminated:
        note("terminated")
        raise typer.Exit(EXIT_TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
