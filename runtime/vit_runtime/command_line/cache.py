"""The command `vit-run cache`: shows what is kept for quicker starts, and deletes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vit_runtime.command_line.console import note, report_errors
from vit_runtime.command_line.options import JsonOption

app = typer.Typer(help="List or delete what is kept in the cache folder.", no_args_is_help=True)


@app.command(name="list")
def list_(*, as_json: JsonOption = False) -> None:
    """List what is kept: profiles by `tune`, copies by `prepare`, and what providers have compiled."""
    from vit_runtime.cache.contents import list_cache
    from vit_runtime.cache.folder import cache_folder
    from vit_runtime.command_line.terminal import columns

    with report_errors():
        entries = list_cache()
        if as_json:
            for entry in entries:
                typer.echo(json.dumps({**vars(entry), "path": str(entry.path)}))
            return
        if entries:
            rows = [(entry.kind, _megabytes(entry.bytes), entry.file or f"a file {entry.digest}") for entry in entries]
            typer.echo(columns([("kept", "size", "for"), *rows]))
        note(f"{_megabytes(sum(entry.bytes for entry in entries))} in {cache_folder()}")


@app.command()
def clear(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[MODEL.onnx...]", help="Delete what is kept for these files.", show_default="all"),
    ] = None,
) -> None:
    """Delete what is kept; it is made again when it is needed or asked for."""
    from vit_runtime.artifact.digest import stored_digest
    from vit_runtime.cache.contents import clear_cache
    from vit_runtime.cache.folder import cache_folder

    with report_errors():
        gone = clear_cache([stored_digest(model) for model in models] if models else None)
        note(f"{_megabytes(sum(entry.bytes for entry in gone))} deleted in {cache_folder()}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
