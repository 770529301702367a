"""The command `vit-run search`: pictures by words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Artifact, TextArtifact, read_artifact
from vit_runtime.artifact.reading import read_text_document
from vit_runtime.command_line.console import answer, note, report_errors
from vit_runtime.command_line.jobs import Asked, PictureJob, Pictures
from vit_runtime.command_line.options import (
    BatchOption,
    DecodeOption,
    DeviceOption,
    FailFastOption,
    JsonOption,
    MaxBytesOption,
    MaxPixelsOption,
    MaxSecondsOption,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
    limits_of,
)
from vit_runtime.command_line.running import Choice
from vit_runtime.command_line.searching import nearest_to
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.errors import ImageError, UsageError, option
from vit_runtime.pictures.limits import BYTES, PIXELS, SECONDS
from vit_runtime.searching.layout import HEADER_FILE

if TYPE_CHECKING:
    from vit_runtime.texts.model import TextModel


def search(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="INDEX|IMAGES...",
            help="An index that `vit-run index` has made; or pictures, folders, patterns, archives; - reads paths from "
            "stdin.",
        ),
    ],
    words: Annotated[str, typer.Argument(metavar="WORDS", help='What to look for: "a red car".')],
    *,
    text: Annotated[Path, typer.Option("--text", metavar="TEXT.onnx", help="File by `vit-export --text`.")],
    model: Annotated[
        Path, typer.Option("--model", metavar="MODEL.onnx", help="File by `vit-export`, of the same weights.")
    ],
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
    """List the pictures that are nearest to words, by the cosine of their embeddings."""
    with report_errors():
        if not words.strip():
            raise UsageError("WORDS", "empty", 'describe what to look for: "a red car"')
        check_together(read_text_document(text), text, read_artifact(model), model)
        index = _index(images)
        limits = limits_of(max_pixels, max_bytes, max_seconds)
        job = None
        if index is not None:
            found = _nearest_in(index, model, _meaning(text, words), top)
        else:
            pictures = Pictures(images, limits)
            wanted = _meaning(text, words)  # its memory is free before the other model's is taken
            asked = Asked(pictures=pictures, decode=decode, batch=batch, fail_fast=fail_fast)
            job = PictureJob(model, Choice(provider, threads, device, no_profile), asked, "embedding")
            found = nearest_to(job, wanted, top)
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
            raise ImageError(", ".join(images), "no picture", "give other pictures")


def check_together(text: TextArtifact, text_path: Path, pictures: Artifact, model_path: Path) -> None:
    """Refuses towers whose embeddings do not lie in one space: those of other weights.

    Raises:
        UsageError: they are not of the same checkpoint, or their embeddings differ in length.
    """
    remedy = "export both from one model: vit-export MODEL, and vit-export MODEL --text"
    ours, theirs = text.architecture.projection, pictures.architecture.embedding_width
    same = text.source.sha256 is not None and text.source.sha256 == pictures.source.sha256
    if same and ours == theirs:
        return
    made_of = f"{text_path} is of {text.source.weights}, {model_path} of {pictures.source.weights}"
    if same:
        made_of = f"{text_path} gives {ours} numbers, {model_path} {theirs}"
    raise UsageError(option("text"), f"does not go with the picture model: {made_of}", remedy)


def _index(images: list[str]) -> Path | None:
    """The index that is named, if it is one; else these are pictures.

    Raises:
        UsageError: an index is named among others.
    """
    found = [image for image in images if (Path(image) / HEADER_FILE).is_file()]
    if found and len(images) > 1:
        raise UsageError("IMAGES", f"{found[0]} is an index, which is searched by itself", "name nothing besides")
    return Path(found[0]) if found else None


def _meaning(text: Path, words: str) -> FloatArray:
    """What the words mean: float32 (E,) of length 1. The processor is quick enough for one text."""
    from vit_runtime.texts.model import load_text

    silence_onnxruntime()
    with load_text(text, provider="cpu") as tower:
        _tell(tower)
        (meaning,) = tower.embed(words, normalize=True)
    return np.asarray(meaning)


def _tell(tower: TextModel) -> None:
    if tower.note:
        note(tower.note)


def _nearest_in(index: Path, model: Path, wanted: FloatArray, top: int) -> list[tuple[str, float]]:
    """Compares with an index; no picture is read, and its model is not loaded."""
    from vit_runtime.searching.folders import Folders
    from vit_runtime.searching.index import open_index

    kept = open_index(index, model)
    folders = Folders(kept.path)
    matches = kept.search(list(wanted), top)
    return [(str(folders.path(match.name)), match.cosine) for match in matches]
