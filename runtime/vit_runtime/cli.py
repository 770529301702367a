"""`vit-run`: labels, embeddings, attention maps, a self-test and the facts of an artifact, on the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from vit_runtime import __version__
from vit_runtime.artifact import codec, read_artifact, read_text_artifact
from vit_runtime.artifact.reading import is_text_artifact
from vit_runtime.command_line import answering, attending, cache, searching, serving, watching, words
from vit_runtime.command_line.console import answer, note, report_errors, set_up
from vit_runtime.command_line.options import (
    DeviceOption,
    ForceOption,
    JsonOption,
    ModelArgument,
    ModelsArgument,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
    parse_provider,
)
from vit_runtime.command_line.places import check_report_file
from vit_runtime.command_line.running import Choice, load_model
from vit_runtime.command_line.summary import describe
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.devices.providers import Provider
from vit_runtime.devices.purpose import Purpose
from vit_runtime.errors import EXIT_VERIFICATION, UsageError, option
from vit_runtime.preparing.prepare import prepare

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


app.command()(answering.classify)
app.command()(answering.embed)
app.command()(attending.attend)
app.command()(searching.index)
app.command()(searching.similar)
app.command()(words.search)


app.command()(watching.watch)
app.command()(serving.serve)


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
        if is_text_artifact(model):
            _check_text(model, Choice(provider, threads, device, no_profile), report, as_json=as_json)
            return
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
        if is_text_artifact(model):
            from vit_runtime.command_line.text_summary import describe_text

            text = read_text_artifact(model)
            typer.echo(json.dumps(codec.encode(text), allow_nan=False) if as_json else describe_text(text, model))
            return
        artifact = read_artifact(model)
        if as_json:
            _print_json(codec.encode(artifact))
        else:
            typer.echo(describe(artifact, model))


def _check_text(model: Path, choice: Choice, report: Path | None, *, as_json: bool) -> None:
    """Says whether this machine answers as the verified text tower did."""
    from vit_runtime.command_line.text_summary import describe_text_check
    from vit_runtime.texts.model import load_text

    if report is not None or choice.device is not None:
        name = "report" if report is not None else "device"
        raise UsageError(option(name), "is for picture models", "leave it out")
    silence_onnxruntime()
    with load_text(model, provider=choice.provider, threads=choice.threads) as tower:
        found = tower.check()
    if as_json:
        difference = found.difference if math.isfinite(found.difference) else None
        _print_json({**vars(found), "difference": difference, "passed": found.passed})
    else:
        typer.echo(describe_text_check(found, tower.artifact))
    if not found.passed:
        raise typer.Exit(EXIT_VERIFICATION)


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, allow_nan=False))


def main() -> None:
    """Entry point of the `vit-run` command."""
    set_up()
    app()
