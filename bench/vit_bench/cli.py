"""`vit-bench`: what an artifact costs and gives on this machine, beside PyTorch and what users would take instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vit_bench import card, measure
from vit_bench.contenders import TOOLS
from vit_bench.documents import read_results, write_results
from vit_bench.measure import Plan
from vit_bench.report import check_readme, make_report, update_readme, write_plots
from vit_bench.session import Choice, Session, check_seconds, results_path
from vit_bench.tables import terminal_table
from vit_export.console_progress import ConsoleProgress
from vit_runtime import __version__
from vit_runtime.console import note, report_errors, set_up
from vit_runtime.devices.session import Provider
from vit_runtime.errors import EXIT_INTERRUPTED, UsageError
from vit_runtime.terminal import printable_lines

app = typer.Typer(
    name="vit-bench",
    help="Measure artifacts side by side with PyTorch and its alternatives: speed, accuracy, memory, size.",
    no_args_is_help=True,
    add_completion=False,
)

ModelsArgument = Annotated[
    list[Path], typer.Argument(metavar="MODEL.onnx...", help="Files that vit-export has written.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="NAME,NAME",
        help=f"Also {', '.join(TOOLS)}; or all, none. What is not installed is listed with how to get it.",
        show_default="torch, where it is installed",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="For every contender alike.", show_default="the physical performance cores"),
]
ProviderOption = Annotated[
    Provider, typer.Option("--provider", help="What artifacts run on; all others run on the CPU.")
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="MODEL",
        help="What the artifacts were exported from, as vit-export takes it: the weights of all other contenders.",
        show_default="found again, or random",
    ),
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option("--calibrate", help="Folder of pictures for openvino-int8.", show_default="noise: speed only"),
]
PeersOption = Annotated[
    Path | None,
    typer.Option("--peers", help="Folder to keep the other contenders' files in.", show_default="a temporary one"),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="What to call this machine.", show_default="the board's or processor's name"),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Results file to write.", show_default="vit-bench-COMMAND-DATE.json"),
]
PhotoOption = Annotated[
    Path | None, typer.Option("--photo", help="Photo to measure with.", show_default="1280x960, made by formula")
]
SecondsOption = Annotated[
    float, typer.Option("--seconds", help="To measure each contender and kind of latency for, over all rounds.")
]
RoundsOption = Annotated[int, typer.Option("--rounds", min=1, help="Turns of each contender.")]


@app.callback(invoke_without_command=True)
def _version(
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if show_version:
        typer.echo(f"vit-edge {__version__}")
        raise typer.Exit


@app.command()
def latency(
    models: ModelsArgument,
    *,
    against: AgainstOption = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Pictures in one run; above 1 only the model alone is measured.")
    ] = 1,
    threads: ThreadsOption = None,
    seconds: SecondsOption = 20.0,
    rounds: RoundsOption = 10,
    photo: PhotoOption = None,
    provider: ProviderOption = "auto",
    checkpoint: CheckpointOption = None,
    calibrate: CalibrateOption = None,
    peers: PeersOption = None,
    device: DeviceOption = None,
    output: OutputOption = None,
) -> None:
    """Time the model alone, and the way from a photo on disk to its labels, in rounds A B A B."""
    choice = Choice(
        models=tuple(models),
        against=against,
        provider=provider,
        threads=threads,
        checkpoint=checkpoint,
        calibrate=calibrate,
        peers_folder=peers,
    )
    plan = Plan(photo=photo, batch=batch, seconds=seconds, rounds=rounds)
    _run("latency", choice, plan, (measure.latency,), device, output)


@app.command()
def accuracy(
    models: ModelsArgument,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Photos, with labels.csv or in one folder for each class.")
    ],
    *,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Table of file,class.", show_default="labels.csv in FOLDER, or folder names"),
    ] = None,
    against: AgainstOption = None,
    threads: ThreadsOption = None,
    provider: ProviderOption = "auto",
    checkpoint: CheckpointOption = None,
    calibrate: CalibrateOption = None,
    peers: PeersOption = None,
    device: DeviceOption = None,
    output: OutputOption = None,
) -> None:
    """Count right answers, top-1 and top-5, and the answers that are the reference's."""
    choice = Choice(
        models=tuple(models),
        against=against,
        provider=provider,
        threads=threads,
        checkpoint=checkpoint,
        calibrate=calibrate,
        peers_folder=peers,
    )
    _run("accuracy", choice, Plan(photos=folder, table=labels), (measure.accuracy,), device, output)


@app.command()
def footprint(
    models: ModelsArgument,
    *,
    against: AgainstOption = None,
    threads: ThreadsOption = None,
    rounds: RoundsOption = 10,
    photo: PhotoOption = None,
    provider: ProviderOption = "auto",
    checkpoint: CheckpointOption = None,
    calibrate: CalibrateOption = None,
    peers: PeersOption = None,
    device: DeviceOption = None,
    output: OutputOption = None,
) -> None:
    """Measure start to first answer, peak memory, size on disk, and what has to be installed."""
    choice = Choice(
        models=tuple(models),
        against=against,
        provider=provider,
        threads=threads,
        checkpoint=checkpoint,
        calibrate=calibrate,
        peers_folder=peers,
    )
    _run("footprint", choice, Plan(photo=photo, rounds=rounds), (measure.footprint,), device, output)


@app.command()
def limit(
    models: ModelsArgument,
    *,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures in one run.")] = 1,
    threads: ThreadsOption = None,
    seconds: Annotated[float, typer.Option("--seconds", help="To measure each artifact for, over all rounds.")] = 20.0,
    rounds: RoundsOption = 10,
    device: DeviceOption = None,
    output: OutputOption = None,
) -> None:
    """Compare with what the engine can do at best: operations, the share reached, and where the rest goes."""
    choice = Choice(models=tuple(models), against="none", provider="cpu", threads=threads)
    _run("limit", choice, Plan(batch=batch, seconds=seconds, rounds=rounds), (measure.limit,), device, output)


@app.command(name="all")
def everything(
    models: ModelsArgument,
    *,
    photos: Annotated[
        Path | None,
        typer.Option("--photos", help="Folder of labelled photos; see accuracy.", show_default="no accuracy"),
    ] = None,
    against: AgainstOption = None,
    threads: ThreadsOption = None,
    seconds: SecondsOption = 20.0,
    rounds: RoundsOption = 10,
    photo: PhotoOption = None,
    provider: ProviderOption = "auto",
    checkpoint: CheckpointOption = None,
    calibrate: CalibrateOption = None,
    peers: PeersOption = None,
    device: DeviceOption = None,
    output: OutputOption = None,
) -> None:
    """Measure all of these in one go, for a device of which only the results file is carried away."""
    choice = Choice(
        models=tuple(models),
        against=against,
        provider=provider,
        threads=threads,
        checkpoint=checkpoint,
        calibrate=calibrate,
        peers_folder=peers,
    )
    plan = Plan(photo=photo, photos=photos, seconds=seconds, rounds=rounds)
    parts = (measure.latency, measure.footprint, *((measure.accuracy,) if photos else ()), measure.limit)
    _run("all", choice, plan, parts, device, output)


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS.json...", help="Files that vit-bench has written.")],
    *,
    readme: Annotated[
        Path | None,
        typer.Option(
            "--readme", help="File to put the tables into, between its vit-bench marks.", show_default="stdout"
        ),
    ] = None,
    plots: Annotated[Path, typer.Option("--plots", help="Folder for the plots.")] = Path("docs/images"),
    check: Annotated[bool, typer.Option("--check", help="Only compare with what --readme and --plots show.")] = False,
) -> None:
    """Make the tables and plots of a README from results of any number of devices."""
    with report_errors():
        if check and readme is None:
            raise UsageError("--check", "compares with a README", "name it: --readme README.md")
        made = make_report([read_results(path) for path in results], plots=plots, readme=readme or Path("README.md"))
        if check and readme is not None:
            check_readme(readme, made)
            return
        for path in write_plots(made):
            note(str(path))
        if readme is None:
            typer.echo(made.markdown)
        else:
            update_readme(readme, made.markdown)
            note(str(readme))


def _run(
    command: str,
    choice: Choice,
    plan: Plan,
    parts: Sequence[measure.Part],
    device: str | None,
    output: Path | None,
) -> None:
    """Measures, writes the results, and shows them."""
    with report_errors():
        check_seconds(plan.seconds)
        path = results_path(output, command, card.now())
        with ConsoleProgress() as progress:
            session = Session(choice, progress)
            sections, end = measure.measure(session, plan, parts, progress)
            results = session.results(device, *sections)
        write_results(path, results)
        typer.echo(printable_lines(terminal_table(results)))
        note(str(path))
        if end == "interrupted":
            note("interrupted: what was measured until then was kept")
            raise typer.Exit(EXIT_INTERRUPTED)


def main() -> None:
    """Entry point of the `vit-bench` command."""
    set_up()
    app()
