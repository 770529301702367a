"""The commands `vit-run index` and `vit-run similar`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from vit_runtime import vectors
from vit_runtime.arrays import FloatArray
from vit_runtime.command_line.console import answer, report_errors
from vit_runtime.command_line.options import (
    BatchOption,
    DeviceOption,
    ForceOption,
    JsonOption,
    ModelArgument,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
)
from vit_runtime.command_line.running import Choice, Failures, embeddings_of, load_model
from vit_runtime.errors import ImageError, UsageError
from vit_runtime.many import DEFAULT_BATCH_SIZE
from vit_runtime.model import ViT

if TYPE_CHECKING:
    from vit_runtime.searching.index import Index


def index(
    model: ModelArgument,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Pictures, or folders of them.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index, which is made or extended.")],
    int8: Annotated[bool, typer.Option("--int8", help="Keep embeddings in int8: a quarter of the room.")] = False,
    force: ForceOption = False,
    batch: BatchOption = DEFAULT_BATCH_SIZE,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Keep the embeddings of pictures for `similar`; a second time, compute those that are new or have changed."""
    from vit_runtime.command_line.indexing import open_or_create, update

    with report_errors():
        kept = open_or_create(output, model, int8=int8, force=force)
        failed = Failures()

        def embed(paths: list[Path]) -> Iterator[tuple[Path, FloatArray]]:
            vit = load_model(model, Choice(provider, threads, device, no_profile), "embedding")
            return embeddings_of(vit, paths, batch, failed, normalize=False)

        update(kept, folders, embed)
        failed.exit_if_any()


def similar(
    model: ModelArgument,
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="The picture to compare with.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER...]", help="Pictures, or folders of them.")
    ] = None,
    *,
    index: Annotated[
        Path | None, typer.Option("--index", help="Compare with an index that `vit-run index` has made instead.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Pictures to show.")] = 5,
    as_json: JsonOption = False,
    batch: BatchOption = DEFAULT_BATCH_SIZE,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """List the pictures that are most like one picture, by the cosine of their embeddings."""
    from vit_runtime.searching.index import open_index

    with report_errors():
        if bool(images) == (index is not None):
            raise UsageError("FOLDER", "give either folders to compare with or --index", "see vit-run similar --help")
        kept = None if index is None else open_index(index, model)
        vit = load_model(model, Choice(provider, threads, device, no_profile), "embedding")
        failed = Failures()
        if kept is None:
            found = _nearest_of(vit, query, images or [], top, batch, failed)
        else:
            found = _nearest_in(kept, vit, query, top)
        for path, cosine in found:
            if as_json:
                typer.echo(json.dumps({"image": str(path), "cosine": cosine}, allow_nan=False))
            else:
                answer(f"{cosine:7.4f}  {path}")
        failed.exit_if_any()
        if not found:
            where = ", ".join(map(str, images or [])) if index is None else index
            raise ImageError(where, f"no picture besides {query}", "give other pictures")


def _nearest_of(
    vit: ViT, query: Path, images: list[Path], top: int, batch: int, failed: Failures
) -> list[tuple[Path, float]]:
    """Compares with pictures, whose embeddings are computed for it."""
    (wanted,) = vit.embed(query, normalize=True)
    others = [
        (path, embedding)
        for path, embedding in embeddings_of(vit, images, batch, failed, normalize=True)
        if not path.samefile(query)
    ]
    if not others:
        return []
    rows = np.stack([embedding for _, embedding in others])
    return [(others[row][0], cosine) for row, cosine in vectors.nearest(wanted, rows, top)]


def _nearest_in(kept: Index, vit: ViT, query: Path, top: int) -> list[tuple[Path, float]]:
    """Compares with an index, where the query may be, too, under one name or several."""
    from vit_runtime.command_line.indexing import Folders

    (wanted,) = vit.embed(query)
    folders, count = Folders(kept.path), top + 1
    while True:
        matches = [(folders.path(match.name), match.cosine) for match in kept.search(wanted, count)]
        others = [(path, cosine) for path, cosine in matches if not _is_same(path, query)]
        if len(others) >= top or len(matches) < count:
            return others[:top]
        count *= 2


def _is_same(path: Path, query: Path) -> bool:
    try:
        return path.samefile(query)
    except (OSError, ValueError):  # the picture lies on another machine, or in an archive
        return False
