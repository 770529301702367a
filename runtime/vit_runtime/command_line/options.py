"""The options that commands of `vit-run` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vit_runtime.devices.providers import PROVIDERS, Provider, closest
from vit_runtime.pictures.limits import Limits
from vit_runtime.pictures.preprocess import Decode


def parse_provider(text: str) -> Provider:
    """Reads a provider's name; a misspelt one gets the names like it."""
    if text not in PROVIDERS:
        raise typer.BadParameter(f"'{text}' is unknown; {closest(text)}")
    return text


ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="File that vit-export has written.")]
ModelsArgument = Annotated[
    list[Path], typer.Argument(metavar="MODEL.onnx...", help="Files of one model, such as fp32 and int8.")
]
ImagesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...",
        help="Pictures, folders (with all folders in them), patterns, zip and tar archives; - reads paths from stdin.",
    ),
]
ProviderOption = Annotated[
    Provider,
    typer.Option(
        "--provider",
        parser=parse_provider,
        metavar="|".join(PROVIDERS),
        help="Run on this execution provider and on no other; `vit-run devices` lists those that are here.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="Processor cores to use, where a processor computes.",
        show_default="the physical performance cores",
    ),
]
DeviceOption = Annotated[
    int | None, typer.Option("--device", min=0, help="Number of the GPU, for cuda and tensorrt.", show_default="0")
]
NoProfileOption = Annotated[
    bool, typer.Option("--no-profile", help="Do not heed what `vit-run tune` found fastest for this file.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist already.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one line for each answer.")]
BatchOption = Annotated[
    int | None,
    typer.Option("--batch", min=1, help="Pictures in one run.", show_default="1 on a processor, 8 on an accelerator"),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the output file: leave out the pictures that it holds already.")
]
FailFastOption = Annotated[
    bool, typer.Option("--fail-fast", help="Stop at the first picture that cannot be read, instead of going on.")
]
DecodeOption = Annotated[
    Decode,
    typer.Option(
        "--decode", help="How to prepare photos: exact gives PyTorch's pixels, fast nearly the same in less time."
    ),
]
MaxPixelsOption = Annotated[int, typer.Option("--max-pixels", min=0, help="Most pixels of a picture; 0 for no limit.")]
MaxBytesOption = Annotated[int, typer.Option("--max-bytes", min=0, help="Most bytes of a picture; 0 for no limit.")]
MaxSecondsOption = Annotated[
    float, typer.Option("--max-seconds", min=0, help="Longest that reading a picture may take; 0 for no limit.")
]


def limits_of(pixels: int, size: int, seconds: float) -> Limits:
    """The limits that the options give."""
    return Limits(pixels=pixels or None, bytes=size or None, seconds=seconds or None)
