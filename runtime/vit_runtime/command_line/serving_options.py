"""The options of `vit-run serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from vit_runtime.devices.purpose import Purpose

TOKEN_VARIABLE: Final = "VIT_EDGE_TOKEN"  # noqa: S105 - a variable's name
"""Environment variable of the token: what stands on a command line, all users of the machine can read."""

ModelsOfService = Annotated[
    list[str],
    typer.Argument(metavar="[NAME=]MODEL.onnx...", help="Files that vit-export has written, by the name to ask for."),
]
HostOption = Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is all of this machine's.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 is any that is free.")]
IndexOption = Annotated[
    Path | None, typer.Option("--index", help="Pictures to compare with, as `vit-run index` has written them.")
]
TokenOption = Annotated[
    str | None, typer.Option("--token", envvar=TOKEN_VARIABLE, help="What requests have to carry: 16 letters or more.")
]
NoTokenOption = Annotated[
    bool, typer.Option("--no-token", help="Let anyone ask who reaches the address, from other machines, too.")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Another name that requests may call this service by."),
]
AllowOriginOption = Annotated[
    list[str] | None,
    typer.Option("--allow-origin", metavar="URL", help="Another site whose pages may ask, as https://example.org."),
]
IdleUnloadOption = Annotated[
    float | None,
    typer.Option("--idle-unload", metavar="SECONDS", help="Unload a model that nobody has asked for so long."),
]
QueueOption = Annotated[int, typer.Option("--queue", min=1, help="Most pictures that wait or are worked on.")]
MaxPicturesOption = Annotated[int, typer.Option("--max-pictures", min=1, help="Most pictures in a request.")]
MaxBodyOption = Annotated[int, typer.Option("--max-body", min=1, help="Most bytes of a request.")]
ServicePurposeOption = Annotated[
    Purpose, typer.Option("--for", help="What is to be fast: many pictures a second, or one picture's answer.")
]
