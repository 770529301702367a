"""The commands `vit-run index` and `vit-run similar`."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vit_runtime.arrays import FloatArray
from vit_runtime.command_line.console import answer, report_errors
from vit_runtime.command_line.jobs import Asked, PictureJob, Pictures
from vit_runtime.command_line.options import (
    BatchOption,
    DecodeOption,
    DeviceOption,
    FailFastOption,
    ForceOption,
    ImagesArgument,
    JsonOption,
    MaxBytesOption,
    MaxPixelsOption,
    MaxSecondsOption,
    ModelArgument,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
    limits_of,
)
from vit_runtime.command_line.running import Choice, load_model
from vit_runtime.errors import ImageError, UsageError
from vit_runtime.model import ViT
from vit_runtime.pictures.limits import BYTES, PIXELS, SECONDS
from vit_runtime.vectors import normalized

if TYPE_CHECKING:
    from vit_runtime.searching.index import Index


def index(
    model: ModelArgument,
    images: ImagesArgument,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index, which is made or extended.")],
    int8: Annotated[bool, typer.Option("--int8", help="Keep embeddings in int8: a quarter of the room.")] = False,
    force: ForceOption = False,
    fail_fast: FailFastOption = False,
    decode: DecodeOption = "exact",
    max_pixels: MaxPixelsOption = PIXELS,
    max_bytes: MaxBytesOption = BYTES,
    max_seconds: MaxSecondsOption = SECONDS,
    batch: BatchOption = None,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Keep the embeddings of pictures for `similar`; a second time, compute those that are new or have changed."""
    from vit_runtime.command_line.indexing import open_or_create, update

    with report_errors():
        kept = open_or_create(output, model, int8=int8, force=force)
        pictures = Pictures(images, limits_of(max_pixels, max_bytes, max_seconds))
        asked = Asked(pictures=pictures, decode=decode, batch=batch, fail_fast=fail_fast)
        choice = Choice(provider, threads, device, no_profile)
        update(kept, images, pictures, lambda: PictureJob(model, choice, asked, "embedding"))


def similar(
    model: ModelArgument,
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="The picture to compare with.")],
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGES...]", help="Pictures, folders, patterns, archives; - reads paths from stdin."),
    ] = None,
    *,
    index: Annotated[
        Path | None, typer.Option("--index", help="Compare with an index that `vit-run index` has made instead.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Pictures to show.")] = 5,
    as_json: JsonOption = False,
    fail_fast: FailFastOption = False,
    decode: DecodeOption = "exact",
    max_pixels: MaxPixelsOption = PIXELS,
    max_bytes: MaxBytesOption = BYTES,
    max_seconds: MaxSecondsOption = SECONDS,
    batch: BatchOption = None,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """List the pictures that are most like one picture, by the cosine of their embeddings."""
    with report_errors():
        if bool(images) == (index is not None):
            raise UsageError("IMAGES", "give either pictures to compare with or --index", "see vit-run similar --help")
        choice = Choice(provider, threads, device, no_profile)
        limits = limits_of(max_pixels, max_bytes, max_seconds)
        job = None
        if index is not None:
            from vit_runtime.searching.index import open_index

            kept = open_index(index, model)
            vit = load_model(model, choice, "embedding", decode=decode, limits=limits)
            found = _nearest_in(kept, vit, query, top)
        else:
            pictures = Pictures(images or [], limits)
            asked = Asked(pictures=pictures, decode=decode, batch=batch, fail_fast=fail_fast)
            job = PictureJob(model, choice, asked, "embedding")
            found = _nearest_of(job, query, top)
            if job.is_stopped:  # what is nearest is not known
                job.end()
        for name, cosine in found:
            if as_json:
                typer.echo(json.dumps({"image": name, "cosine": cosine}, allow_nan=False))
            else:
                answer(f"{cosine:7.4f}  {name}")
        if job is not None:
            job.end()
        if not found:
            where = ", ".join(images or []) if index is None else index
            raise ImageError(where, f"no picture besides {query}", "give other pictures")


def _nearest_of(job: PictureJob, query: Path, top: int) -> list[tuple[str, float]]:
    """Compares a picture with others, whose embeddings are computed for it."""
    (wanted,) = job.vit.embed(query, normalize=True)
    return nearest_to(job, wanted, top, lambda name: _is_same(Path(name), query))


def nearest_to(
    job: PictureJob, wanted: FloatArray, top: int, skip: Callable[[str], bool] = lambda _: False
) -> list[tuple[str, float]]:
    """Gives the pictures whose embeddings are most like `wanted`, (width,) of length 1; keeps the best ones only."""

    def compare(name: str, row: FloatArray) -> tuple[str, float]:
        return name, float(normalized(row[None])[0] @ wanted)

    with closing(job.records(compare, bar=True)) as records:
        compared = (pair for pair in records if not isinstance(pair, ImageError))
        others = ((name, cosine) for name, cosine in compared if not skip(name))
        # Of pictures that are alike to the last bit, the first ones come first.
        best = heapq.nlargest(top, ((cosine, -place, name) for place, (name, cosine) in enumerate(others)))
    return [(name, cosine) for cosine, _, name in best]


def _nearest_in(kept: Index, vit: ViT, query: Path, top: int) -> list[tuple[str, float]]:
    """Compares with an index, where the query may be, too, under one name or several."""
    from vit_runtime.searching.folders import Folders

    (wanted,) = vit.embed(query)
    folders, count = Folders(kept.path), top + 1
    while True:
        matches = [(folders.path(match.name), match.cosine) for match in kept.search(wanted, count)]
        others = [(str(path), cosine) for path, cosine in matches if not _is_same(path, query)]
        if len(others) >= top or len(matches) < count:
            return others[:top]
        count *= 2


def _is_same(path: Path, query: Path) -> bool:
    try:
        return path.samefile(query)
    except (OSError, ValueError):  # the picture lies on another machine, or in an archive
        return False
