"""The command `vit-run attend`: what a model looked at, drawn over each photo, or as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vit_runtime.arrays import FloatArray
from vit_runtime.command_line.console import answer, note, report_errors, stdout_is_terminal
from vit_runtime.command_line.jobs import Asked, PictureJob, Pictures
from vit_runtime.command_line.options import (
    DecodeOption,
    DeviceOption,
    FailFastOption,
    ForceOption,
    ImagesArgument,
    MaxBytesOption,
    MaxPixelsOption,
    MaxSecondsOption,
    ModelArgument,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
    limits_of,
)
from vit_runtime.command_line.places import OverlayPlaces
from vit_runtime.command_line.running import Choice
from vit_runtime.command_line.sinks import print_records
from vit_runtime.errors import ImageError, UsageError
from vit_runtime.heatmap import AttentionMap, save_overlay
from vit_runtime.pictures.limits import BYTES, PIXELS, SECONDS
from vit_runtime.pictures.preprocess import fit
from vit_runtime.pictures.reading import read_rgb
from vit_runtime.results.formats import Record
from vit_runtime.sources.source import Found
from vit_runtime.vectors import numbers
from vit_runtime.waiting import WAITING, Waiting
from vit_runtime.wording import plural
from vit_runtime.workers.works import Prepared


def attend(
    model: ModelArgument,
    images: ImagesArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Picture to write, or a folder for the pictures of several photos.",
            show_default="PHOTO.attention.png in this folder",
        ),
    ] = None,
    force: ForceOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out the photos whose pictures are there.")] = False,
    fail_fast: FailFastOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the maps as JSON lines instead.")] = False,
    decode: DecodeOption = "exact",
    max_pixels: MaxPixelsOption = PIXELS,
    max_bytes: MaxBytesOption = BYTES,
    max_seconds: MaxSecondsOption = SECONDS,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Draw the model's attention over each photo, to show where it looked, and print the paths of these pictures."""
    with report_errors():
        if as_json and (output is not None or resume):
            wrong = "--output" if output is not None else "--resume"
            raise UsageError("--json", f"prints maps, and {wrong} is for pictures", "leave one of them out")
        pictures = Pictures(images, limits_of(max_pixels, max_bytes, max_seconds))
        places = OverlayPlaces(output, single=pictures.is_single, force=force, resume=resume)
        asked = Asked(pictures=pictures, decode=decode if as_json else "exact", fail_fast=fail_fast)
        job = PictureJob(model, Choice(provider, threads, device, no_profile), asked, "rollout")
        if as_json:
            print_records(job, _as_record)
            return
        if decode != "exact":
            note("photos are read in full, since they are drawn on: --decode is for --json")
        _draw_all(job, places)


def _as_record(name: str, rollout: FloatArray) -> Record:
    return {"image": name, "rollout": [numbers(row) for row in rollout]}


@dataclass(frozen=True)
class _ToDraw:
    """A photo, and where its overlay goes."""

    found: Found
    target: Path


def _draw_all(job: PictureJob, places: OverlayPlaces) -> None:
    """Draws an overlay for each photo, in the workers, and prints where it is."""
    preprocessing, limits = job.vit.artifact.preprocessing, job.asked.pictures.limits

    def read(item: _ToDraw) -> Prepared[Path]:
        if item.found.error is not None:
            raise item.found.error
        photo = read_rgb(item.found.source, limits=limits, name=item.found.name)

        def draw(rollout: FloatArray) -> Path:
            save_overlay(AttentionMap(job.sound(rollout), photo, preprocessing).overlay(), item.target)
            return item.target

        return Prepared(fit(photo, preprocessing, item.found.name), draw)

    # Decoded photos are large, so few are held at a time.
    items = _to_draw(job.asked.pictures, places)
    ahead = max(2, job.vit.workers)  # with one ahead there would be no threads
    targets = job.each(items, read, lambda item: item.found, ahead=ahead, bar=not stdout_is_terminal())
    with closing(targets):
        for target in targets:
            if not isinstance(target, ImageError):
                answer(target)
    job.end()


def _to_draw(pictures: Pictures, places: OverlayPlaces) -> Iterator[_ToDraw | Waiting]:
    """Gives each photo with its place; says at the end how many had their overlay already."""
    there = 0
    for found in pictures:
        if found is WAITING:
            yield found
        elif (target := places.place(found.name)) is None:
            there += 1
        else:
            yield _ToDraw(found, target)
    if there:
        note(f"{plural(there, 'picture')} were there already")
