"""`vit-run`: labels, embeddings, attention maps, a self-test and the facts of an artifact, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vit_runtime import __version__, vectors
from vit_runtime.artifact import codec, read_artifact
from vit_runtime.command_line import cache, watching
from vit_runtime.command_line.console import answer, note, report_errors, set_up
from vit_runtime.command_line.options import (
    BatchOption,
    DeviceOption,
    ForceOption,
    ImagesArgument,
    JsonOption,
    ModelArgument,
    ModelsArgument,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
    parse_provider,
)
from vit_runtime.command_line.places import check_report_file, check_vector_file, overlay_paths
from vit_runtime.command_line.running import Choice, Failures, answers_of, embeddings_of, load_model
from vit_runtime.command_line.summary import describe
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import EXIT_VERIFICATION, ImageError, UsageError
from vit_runtime.heatmap import save_overlay
from vit_runtime.many import DEFAULT_BATCH_SIZE
from vit_runtime.pictures.finding import find_pictures
from vit_runtime.preparing.prepare import prepare
from vit_runtime.tuning.setting import Purpose

app = typer.Typer(
    name="vit-run",
    help="Run a Vision Transformer that vit-export has written.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(cache.app, name="cache")


@app.callback(invoke_without_command=True)
def _version(
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if show_version:
        typer.echo(f"vit-edge {__version__}")
        raise typer.Exit


@app.command()
def classify(
    model: ModelArgument,
    images: ImagesArgument,
    *,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show.")] = 5,
    as_json: JsonOption = False,
    batch: BatchOption = DEFAULT_BATCH_SIZE,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Print the likeliest classes of each picture."""
    with report_errors():
        vit = load_model(model, Choice(provider, threads, device, no_profile), "logits")
        failed = Failures()
        for path, logits in answers_of(vit, "logits", images, batch, failed):
            predictions = vit.top(logits, top_k=top)
            if as_json:
                _print_json({"image": str(path), "predictions": [vars(prediction) for prediction in predictions]})
                continue
            answer(path)
            for prediction in predictions:
                index = "" if vit.artifact.labels is None else f"  (class {prediction.index})"
                answer(f"  {prediction.probability:7.2%}  {prediction.label}{index}")
        failed.exit_if_any()


@app.command()
def embed(
    model: ModelArgument,
    images: ImagesArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this file instead: .npy for float32 (pictures, width), .jsonl for paths and embeddings.",
        ),
    ] = None,
    force: ForceOption = False,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each embedding to length 1.")] = False,
    batch: BatchOption = DEFAULT_BATCH_SIZE,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Print the embedding of each picture (the class token after the final LayerNorm) as JSON lines."""
    with report_errors():
        if output is not None:
            check_vector_file(output, force=force)
        vit = load_model(model, Choice(provider, threads, device, no_profile), "embedding")
        failed = Failures()
        answers = embeddings_of(vit, images, batch, failed, normalize=normalize)
        if output is None:
            for path, embedding in answers:
                typer.echo(vectors.json_line(path, embedding))
        elif output.suffix.lower() == ".jsonl":
            count = vectors.write_json_lines(output, answers)
            note(f"{output}: {count} lines")
        else:
            rows = [embedding for _, embedding in answers]
            # A missing row would shift all rows behind it, so there is no file unless every picture was read.
            failed.exit_if_any()
            vectors.write_npy(output, rows)
            note(f"{output}: {len(rows)} x {len(rows[0])} float32, in the order of the pictures")
        failed.exit_if_any()


@app.command()
def similar(
    model: ModelArgument,
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="The picture to compare with.")],
    images: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Pictures, or folders of them.")],
    *,
    top: Annotated[int, typer.Option("--top", min=1, help="Pictures to show.")] = 5,
    as_json: JsonOption = False,
    batch: BatchOption = DEFAULT_BATCH_SIZE,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """List the pictures that are most like one picture, by the cosine of their embeddings."""
    with report_errors():
        vit = load_model(model, Choice(provider, threads, device, no_profile), "embedding")
        (wanted,) = vit.embed(query, normalize=True)
        failed = Failures()
        others = [
            (path, embedding)
            for path, embedding in embeddings_of(vit, images, batch, failed, normalize=True)
            if not path.samefile(query)
        ]
        if others:
            rows = np.stack([embedding for _, embedding in others])
            for index, cosine in vectors.nearest(wanted, rows, top):
                if as_json:
                    _print_json({"image": str(others[index][0]), "cosine": cosine})
                else:
                    answer(f"{cosine:7.4f}  {others[index][0]}")
        failed.exit_if_any()
        if not others:
            raise ImageError(", ".join(map(str, images)), f"no picture besides {query}", "give other pictures")


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the maps as JSON lines instead.")] = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Draw the model's attention over each photo, to show where it looked, and print the paths of these pictures."""
    with report_errors():
        if as_json and output is not None:
            raise UsageError("--json", "prints maps, and --output is for pictures", "leave one of them out")
        paths = find_pictures(images)
        targets = [] if as_json else overlay_paths(paths, output, force=force)
        vit = load_model(model, Choice(provider, threads, device, no_profile), "rollout")
        failed = Failures()
        if as_json:
            for path, seen in failed.without(paths, vit.maps(paths)):
                rollout = [[float(f"{value:.9g}") for value in row] for row in seen.values]
                _print_json({"image": str(path), "rollout": rollout})
        else:
            for target, seen in failed.without(targets, vit.maps(paths)):
                save_overlay(seen.overlay(), target)
                answer(target)
        failed.exit_if_any()


app.command()(watching.watch)


@app.command()
def check(
    model: ModelArgument,
    *,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
    as_json: JsonOption = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.json", help="Also write what was found to this file.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Say whether this machine answers as the verified file did, how fast, and what else could run the file."""
    from vit_runtime.command_line.doctor import describe_diagnosis, diagnosis_document, write_report
    from vit_runtime.diagnosis import diagnose, try_others

    with report_errors():
        if report is not None:
            check_report_file(report, force=force)
        vit = load_model(model, Choice(provider, threads, device, no_profile))
        found = diagnose(vit)
        vit.close()
        others = list(try_others(vit, lambda name: note(f"trying {name}")))
        document = diagnosis_document(found, others, vit.artifact)
        if as_json:
            _print_json(document)
        else:
            typer.echo(describe_diagnosis(found, others, vit.artifact))
        if report is not None:
            write_report(report, document, vit)
            note(f"{report}: this machine's record")
        if not found.passed:
            raise typer.Exit(EXIT_VERIFICATION)


@app.command()
def tune(
    models: ModelsArgument,
    *,
    seconds: Annotated[float, typer.Option("--seconds", help="How long to measure; loading comes on top.")] = 30.0,
    purpose: Annotated[
        Purpose, typer.Option("--for", help="What is to be fast: one picture's answer, or many pictures a second.")
    ] = "latency",
    provider: Annotated[
        Provider,
        typer.Option(
            "--provider", parser=parse_provider, metavar="NAME", help="Try this execution provider and no other."
        ),
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the provider and the threads that are fastest here, and remember them for all commands."""
    from vit_runtime.command_line.tuning import run_tune

    with report_errors():
        silence_onnxruntime()
        run_tune(models, seconds, purpose, provider, as_json=as_json)


@app.command(name="prepare")
def prepare_(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.onnx...", help="Files that vit-export has written.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a copy of each file that starts sooner, takes less memory and is shared; it takes room on the disk."""
    with report_errors():
        silence_onnxruntime()
        for model in models:
            made = prepare(model)
            if as_json:
                _print_json({"file": str(model), **vars(made), "folder": str(made.folder)})
                continue
            state = "prepared" if made.is_new else "is prepared already"
            answer(f"{model}: {state}, {made.bytes / 1e6:,.0f} MB in {made.folder}")


@app.command()
def devices(*, as_json: JsonOption = False) -> None:
    """List what this machine can compute on, and what to install for what it has besides."""
    from vit_runtime.command_line.device_table import describe_devices
    from vit_runtime.devices.listing import list_devices

    with report_errors():
        silence_onnxruntime()
        found = list_devices()
        if as_json:
            for device in found:
                _print_json({**vars(device), "installed": device.is_installed})
        else:
            typer.echo(describe_devices(found))


@app.command()
def info(model: ModelArgument, *, as_json: JsonOption = False) -> None:
    """Print what a model file says about itself, without loading its weights."""
    with report_errors():
        artifact = read_artifact(model)
        if as_json:
            _print_json(codec.encode(artifact))
        else:
            typer.echo(describe(artifact, model))


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, allow_nan=False))


def main() -> None:
    """Entry point of the `vit-run` command."""
    set_up()
    app()
