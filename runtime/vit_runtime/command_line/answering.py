"""The commands `vit-run classify` and `embed`: an answer for each picture, printed or written to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.command_line.console import answer, note, report_errors, stdout_is_terminal
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
    ResumeOption,
    ThreadsOption,
    limits_of,
)
from vit_runtime.command_line.places import check_answer_file
from vit_runtime.command_line.running import Choice
from vit_runtime.command_line.sinks import print_records, refuse_resume_without_file, write_records
from vit_runtime.errors import ImageError
from vit_runtime.model import Prediction, ViT
from vit_runtime.pictures.limits import BYTES, PIXELS, SECONDS
from vit_runtime.results.formats import RECORD_SUFFIXES, Layout, Record
from vit_runtime.results.job import Job
from vit_runtime.vectors import normalized, numbers, write_npy

_NPY: Final = ".npy"


def classify(
    model: ModelArgument,
    images: ImagesArgument,
    *,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show.")] = 5,
    as_json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file instead: .jsonl for JSON lines, .csv for a table."),
    ] = None,
    force: ForceOption = False,
    resume: ResumeOption = False,
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
    """Print the likeliest classes of each picture."""
    with report_errors():
        refuse_resume_without_file(resume=resume, output=output, suffixes=RECORD_SUFFIXES)
        if output is not None:
            check_answer_file(output, RECORD_SUFFIXES, force=force, resume=resume)
        pictures = Pictures(images, limits_of(max_pixels, max_bytes, max_seconds))
        asked = Asked(pictures=pictures, decode=decode, batch=batch, fail_fast=fail_fast)
        job = PictureJob(model, Choice(provider, threads, device, no_profile), asked, "logits")

        def predicted(name: str, logits: FloatArray) -> Record:
            return {"image": name, "predictions": [vars(each) for each in job.vit.top(logits, top_k=top)]}

        if output is not None:
            classes = job.vit.artifact.architecture.classes
            facts: Job = {"command": "classify", "model": stored_digest(model), "top": top, "decode": decode}
            write_records(job, predicted, output, _prediction_layout(min(top, classes)), facts, resume=resume)
        elif as_json:
            print_records(job, predicted)
        else:
            with closing(job.records(predicted, bar=not stdout_is_terminal())) as records:
                for record in records:
                    if not isinstance(record, ImageError):
                        _print_predictions(record, job.vit)
            job.end()


def embed(
    model: ModelArgument,
    images: ImagesArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this file instead: .npy for float32 (pictures, width), .jsonl or .csv with names.",
        ),
    ] = None,
    force: ForceOption = False,
    resume: ResumeOption = False,
    fail_fast: FailFastOption = False,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each embedding to length 1.")] = False,
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
    """Print the embedding of each picture (the class token after the final LayerNorm) as JSON lines."""
    with report_errors():
        refuse_resume_without_file(resume=resume, output=output, suffixes=RECORD_SUFFIXES)
        if output is not None:
            check_answer_file(output, (_NPY, *RECORD_SUFFIXES), force=force, resume=resume)
        pictures = Pictures(images, limits_of(max_pixels, max_bytes, max_seconds))
        asked = Asked(pictures=pictures, decode=decode, batch=batch, fail_fast=fail_fast)
        job = PictureJob(model, Choice(provider, threads, device, no_profile), asked, "embedding")
        width = job.vit.artifact.architecture.embedding_width

        def embedded(name: str, row: FloatArray) -> Record:
            return {"image": name, "embedding": numbers(normalized(row[None])[0] if normalize else row)}

        if output is None:
            print_records(job, embedded)
        elif output.suffix.lower() == _NPY:
            count = write_npy(output, _rows(job, normalize=normalize), width)
            note(f"{output}: {count} x {width} float32, in the order of the pictures")
        else:
            facts: Job = {"command": "embed", "model": stored_digest(model), "normalize": normalize, "decode": decode}
            write_records(job, embedded, output, _embedding_layout(width), facts, resume=resume)


def _rows(job: PictureJob, *, normalize: bool) -> Iterator[FloatArray]:
    """All embeddings. A missing row would shift those behind it, so one bad picture means that there is no file."""
    with closing(job.records(lambda _, row: normalized(row[None])[0] if normalize else row, bar=True)) as rows:
        for row in rows:
            if not isinstance(row, ImageError):
                yield row
    job.end()


def _print_predictions(record: Record, vit: ViT) -> None:
    answer(record["image"])
    for each in cast("Sequence[Mapping[str, Any]]", record["predictions"]):
        prediction = Prediction(**each)
        index = "" if vit.artifact.labels is None else f"  (class {prediction.index})"
        answer(f"  {prediction.probability:7.2%}  {prediction.label}{index}")


def _prediction_layout(top: int) -> Layout:
    """A line a picture: label, index and probability of each of the likeliest classes."""
    fields = ("label", "index", "probability")
    endings = ["", *(f"_{rank}" for rank in range(2, top + 1))]

    def cells(record: Record) -> Mapping[str, object]:
        predictions = cast("Sequence[Mapping[str, Any]]", record.get("predictions", ()))
        return {
            "image": record["image"],
            "error": record.get("error", ""),
            **{
                f"{field}{ending}": each[field]
                for ending, each in zip(endings, predictions, strict=False)
                for field in fields
            },
        }

    columns = ("image", *(f"{field}{ending}" for ending in endings for field in fields), "error")
    return Layout(columns=columns, cells=cells)


def _embedding_layout(width: int) -> Layout:
    """A line a picture: its embedding's values, in columns with their numbers."""

    def cells(record: Record) -> Mapping[str, object]:
        values = cast("Sequence[float]", record.get("embedding", ()))
        numbered = {str(index): value for index, value in enumerate(values)}
        return {"image": record["image"], "error": record.get("error", ""), **numbered}

    return Layout(columns=("image", *map(str, range(width)), "error"), cells=cells)
