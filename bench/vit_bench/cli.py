"""`vit-bench`: what an artifact costs and gives on this machine, beside PyTorch and what users would take instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.models import ArgumentInfo

from vit_bench.contenders.names import FOLDER_TOOLS, TOOLS
from vit_bench.documents import read_results, write_results
from vit_bench.measure.card import now
from vit_bench.measure.session import Request, Session
from vit_bench.report.pages import check_page, update_page
from vit_bench.report.report import check_plots, make_report, write_plots
from vit_bench.report.tables import terminal_table
from vit_bench.results import Section
from vit_export.console_progress import ConsoleProgress
from vit_runtime import __version__
from vit_runtime.command_line.console import note, report_errors, set_up
from vit_runtime.command_line.terminal import printable_lines
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import EXIT_INTERRUPTED, UsageError

app = typer.Typer(
    name="vit-bench",
    help="Measure artifacts side by side with PyTorch and its alternatives: speed, accuracy, memory, size.",
    no_args_is_help=True,
    add_completion=False,
)

_OPTIONS: Final[dict[str, Any]] = {
    "models": Annotated[list[Path], typer.Argument(metavar="MODEL.onnx...", help="Files that vit-export has written.")],
    "against": Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="NAME,NAME",
            help=f"Also {', '.join(TOOLS)}; or all, none. What is not installed is listed with how to get it.",
            show_default="torch, where it is installed",
        ),
    ],
    "batch": Annotated[
        int, typer.Option("--batch", min=1, help="Pictures in one run; above 1 only the model alone is measured.")
    ],
    "threads": Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="For every contender alike.", show_default="the physical performance cores"
        ),
    ],
    "seconds": Annotated[
        float, typer.Option("--seconds", help="To measure each contender and kind of latency for, over all rounds.")
    ],
    "rounds": Annotated[int, typer.Option("--rounds", min=1, help="Turns of each contender.")],
    "photo": Annotated[
        Path | None, typer.Option("--photo", help="Photo to measure with.", show_default="1280x960, made by formula")
    ],
    "photos": Annotated[
        Path | None,
        typer.Option("--photos", help="Folder of labelled photos; see accuracy.", show_default="no accuracy"),
    ],
    "labels": Annotated[
        Path | None,
        typer.Option("--labels", help="Table of file,class.", show_default="labels.csv in FOLDER, or folder names"),
    ],
    "folder": Annotated[
        Path, typer.Option("--photos", help="Folder of photos to answer for, with folders below it; no labels needed.")
    ],
    "size": Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="WIDTHxHEIGHT",
            help="Enlarge the photos to JPEGs of this size first, in a temporary folder.",
            show_default="as they are",
        ),
    ],
    "pictures": Annotated[int, typer.Option("--pictures", min=1, help="Most photos to take, evenly out of all.")],
    "decode_image": Annotated[
        bool, typer.Option("--decode-image", help="PyTorch a second time, with torchvision.io.decode_image.")
    ],
    "provider": Annotated[
        Provider, typer.Option("--provider", help="What artifacts run on; all others run on the CPU.")
    ],
    "checkpoint": Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="MODEL",
            help="What the artifacts were exported from, as vit-export takes it: the weights of all other contenders.",
            show_default="found again, or random",
        ),
    ],
    "calibrate": Annotated[
        Path | None,
        typer.Option("--calibrate", help="Folder of pictures for NNCF.", show_default="noise: speed only"),
    ],
    "peers": Annotated[
        Path | None,
        typer.Option("--peers", help="Folder to keep the other contenders' files in.", show_default="a temporary one"),
    ],
    "device": Annotated[
        str | None,
        typer.Option("--device", help="What to call this machine.", show_default="the board's or processor's name"),
    ],
    "output": Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Results file to write.", show_default="vit-bench-COMMAND-DATE.json"),
    ],
}
"""The options of all measuring commands; their defaults stand in `Request`."""
_PEERS: Final = ("provider", "checkpoint", "calibrate", "peers")
_RESULTS: Final = ("device", "output")
_REQUIRED: Final = ("folder",)
"""Options that a command which has them cannot do without."""


def _takes(*names: str, **instead: Any) -> Callable[[Callable[[Request], None]], Callable[..., None]]:
    """Gives a measuring command its options, which Typer reads off a function's signature.

    Args:
        names: the options, in the order of the command's help.
        instead: those that say something else for this command.
    """
    parameters = []
    for name in names:
        option = instead.get(name, _OPTIONS[name])
        required = isinstance(option.__metadata__[0], ArgumentInfo) or name in _REQUIRED
        default = inspect.Parameter.empty if required else getattr(Request, name)
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option))

    def decorate(command: Callable[[Request], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            with report_errors():
                command(Request(**given))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Python reads it, mypy does not
        return run

    return decorate


@app.callback(invoke_without_command=True)
def _version(
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if show_version:
        typer.echo(f"vit-edge {__version__}")
        raise typer.Exit


@app.command()
@_takes("models", "against", "batch", "threads", "seconds", "rounds", "photo", *_PEERS, *_RESULTS)
def latency(request: Request) -> None:
    """Time the model alone, and the way from a photo on disk to its labels, in rounds A B A B."""
    _measure("latency", request, Session.latency)


@app.command()
@_takes(
    *("models", "folder", "size", "pictures", "against", "decode_image", "threads", "seconds", "rounds"),
    *("provider", "checkpoint", "peers", *_RESULTS),
    against=Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="NAME,NAME",
            help=f"Also {', '.join(FOLDER_TOOLS)}, each with the fastest of many settings; or all, none.",
            show_default="torch, where it is installed",
        ),
    ],
    threads=Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Cores for every contender alike.", show_default="the physical performance cores"
        ),
    ],
    seconds=Annotated[
        float, typer.Option("--seconds", help="For the folder, and for one by one, over all rounds; a pass is whole.")
    ],
)
def throughput(request: Request) -> None:
    """Count pictures a second over a folder, and time one photo after the other, with exact and with fast decoding."""
    _measure("throughput", request, Session.throughput)


@app.command()
@_takes(
    *("models", "photos", "labels", "against", "threads", *_PEERS, *_RESULTS),
    photos=Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Photos, with labels.csv or in one folder for each class.")
    ],
)
def accuracy(request: Request) -> None:
    """Count right answers, top-1 and top-5, and the answers that are the reference's."""
    _measure("accuracy", request, Session.accuracy)


@app.command()
@_takes("models", "against", "threads", "rounds", "photo", *_PEERS, *_RESULTS)
def footprint(request: Request) -> None:
    """Measure start to first answer, peak memory, size on disk, and what has to be installed."""
    _measure("footprint", request, Session.footprint)


@app.command()
@_takes(
    *("models", "batch", "threads", "seconds", "rounds", *_RESULTS),
    batch=Annotated[int, typer.Option("--batch", min=1, help="Pictures in one run.")],
    seconds=Annotated[float, typer.Option("--seconds", help="To measure each artifact for, over all rounds.")],
)
def limit(request: Request) -> None:
    """Time the linear layers alone, at the engine's own speed, beside a whole pass, and tell where the rest goes."""
    _measure("limit", replace(request, against="none", provider="cpu"), Session.limit)


@app.command(name="all")
@_takes("models", "photos", "against", "threads", "seconds", "rounds", "photo", *_PEERS, *_RESULTS)
def everything(request: Request) -> None:
    """Measure all of these in one go, for a device of which only the results file is carried away."""
    accuracy_too = [Session.accuracy] if request.photos else []
    _measure("all", request, Session.latency, Session.footprint, *accuracy_too, Session.limit)


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS.json...", help="Files that vit-bench has written.")],
    *,
    page: Annotated[
        Path | None,
        typer.Option("--page", help="File to put all tables into, between its vit-bench marks.", show_default="stdout"),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="File to put a small table for each device and model into.")
    ] = None,
    plots: Annotated[Path, typer.Option("--plots", help="Folder for the plots.")] = Path("docs/images"),
    check: Annotated[
        bool, typer.Option("--check", help="Only compare with what --page, --summary and --plots show.")
    ] = False,
) -> None:
    """Make tables and plots from results of any number of devices and sessions."""
    with report_errors():
        if check and page is None:
            raise UsageError("--check", "compares with a page", "name it: --page docs/benchmarks.md")
        made = make_report([read_results(path) for path in results], plots=plots, page=page or Path("README.md"))
        texts = [(path, text) for path, text in ((page, made.markdown), (summary, made.summary)) if path is not None]
        if check:
            for path, text in texts:
                check_page(path, text)
            check_plots(made)
            return
        for path in write_plots(made):
            note(str(path))
        for path, text in texts:
            update_page(path, text)
            note(str(path))
        if page is None:
            typer.echo(made.markdown)


def _measure(command: str, request: Request, *wanted: Callable[[Session], Section]) -> None:
    """Measures, writes the results, and shows them."""
    path = request.results_path(command, now())
    with ConsoleProgress() as progress:
        session = Session(request, progress)
        sections, end = session.measure(*wanted)
        results = session.results(sections)
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
