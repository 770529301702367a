"""`vit-export`: a Vision Transformer to one ONNX file, on the command line.

torch is imported inside the commands: `--help` answers at once, and a device without it gets a clear line.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Literal, NoReturn, cast, get_args

import typer

from vit_export.checks import checked, checked_rollout
from vit_export.extra import require_export_extra
from vit_export.int8.keep_float import parse_keep_float
from vit_export.request import IMAGENET_LABELS, RANDOM_WEIGHTS, ExportRequest, PreprocessingOptions
from vit_runtime import __version__
from vit_runtime.artifact import HeadFusion, Interpolation, Precision, Rollout, Target
from vit_runtime.console import answer, note, note_lines, report_errors, set_up
from vit_runtime.errors import UsageError, option

app = typer.Typer(name="vit-export", add_completion=False)

_PRECISION = "Precision and target"
_ATTENTION = "Attention maps"
_OTHER_SOURCES = (
    "owner/name, or a folder with config.json",
    "  Hugging Face               ViT, DeiT, DINO, DINOv2 with and without registers: google/vit-base-patch16-224",
    "  timm                       the same, AugReg, DeiT III: timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "a file of weights",
    "  .safetensors, .pth         with torchvision's or timm's names",
)
_PREPARATION = "Preparation of pictures, where it is not what the weights bring"


@app.command(no_args_is_help=True)
def export(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="vit_b_16 and others (see --list), a name on the Hugging Face hub, a folder, or a checkpoint file.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar=f"NAME|{RANDOM_WEIGHTS}", help="Published weights.", show_default="torchvision's default"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help=f"Seed of --weights {RANDOM_WEIGHTS}.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Your own weights for MODEL: a state dict, .pth or .safetensors.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar=f"FILE|{IMAGENET_LABELS}", help="Class names, one a line.")
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(help="Attention heads, where MODEL is a file.", show_default="width / 64, ViT-H 16"),
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Input height and width; positions are interpolated.")] = None,
    resize: Annotated[
        str | None,
        typer.Option(metavar="N|HxW", help="Shortest edge, or exact size.", rich_help_panel=_PREPARATION),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(metavar="|".join(get_args(Interpolation)), rich_help_panel=_PREPARATION)
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="On a scale of 0 to 1.", rich_help_panel=_PREPARATION)
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="R,G,B", rich_help_panel=_PREPARATION)] = None,
    precision: Annotated[Precision, typer.Option(help="Of weights and products.", rich_help_panel=_PRECISION)] = "fp32",
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Photos for static int8.", show_default="dynamic int8", rich_help_panel=_PRECISION
        ),
    ] = None,
    keep_float: Annotated[
        str,
        typer.Option(
            metavar="N|NAMES",
            help="int8 layers to keep in float: so many of the worst, or names with *.",
            rich_help_panel=_PRECISION,
        ),
    ] = "0",
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="Keep more layers in float until so many calibration answers change at most.",
            rich_help_panel=_PRECISION,
        ),
    ] = None,
    target: Annotated[
        Target,
        typer.Option(
            help="What will run the file: portable is TensorRT, OpenVINO, CoreML.", rich_help_panel=_PRECISION
        ),
    ] = "cpu",
    attention: Annotated[
        bool,
        typer.Option(
            "--attention", help="Add attention maps (rollout) for `vit-run attend`.", rich_help_panel=_ATTENTION
        ),
    ] = False,
    head_fusion: Annotated[
        HeadFusion | None,
        typer.Option(help="How heads become one.", show_default="mean", rich_help_panel=_ATTENTION),
    ] = None,
    discard_ratio: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of each token's smallest attention weights to leave out.",
            show_default="0",
            rich_help_panel=_ATTENTION,
        ),
    ] = None,
    against: Annotated[
        Literal["library"] | None,
        typer.Option(help="Compare with transformers' or timm's own model instead of a plain one."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File ending in .onnx, or folder.", show_default="models/<model>[.int8|.fp16].onnx"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    list_models: Annotated[bool, typer.Option("--list", help="List models and their published weights.")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Turn a Vision Transformer into one ONNX file that answers as PyTorch does."""
    with report_errors():
        if show_version:
            typer.echo(f"vit-edge {__version__}")
            return
        if list_models:
            _list_models()
            return
        if model is None:
            raise UsageError(option("model"), "missing", "for example: vit-export vit_b_16")
        preparation = PreprocessingOptions(
            resize=_parse_resize(resize),
            interpolation=cast("Interpolation | None", interpolation),
            mean=_parse_channels("mean", mean),
            std=_parse_channels("std", std),
        )
        request = ExportRequest(
            model=model,
            weights=weights,
            seed=seed,
            checkpoint=checkpoint,
            labels=labels,
            image_size=image_size,
            heads=heads,
            preprocessing=preparation,
            rollout=_parse_rollout(head_fusion, discard_ratio, attention=attention),
            precision=precision,
            target=target,
            calibrate=calibrate,
            keep_float=parse_keep_float(keep_float),
            max_drop=max_drop,
            against=against,
            output=output,
            force=force,
        )
        _run(checked(request))


def _run(request: ExportRequest) -> None:
    # A polite kill cleans up exactly as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    require_export_extra()
    from vit_export.console_progress import ConsoleProgress
    from vit_export.exporter import export as run_export
    from vit_runtime.devices.session import silence_onnxruntime
    from vit_runtime.summary import (
        describe_assumptions,
        describe_quantization,
        describe_source,
        describe_verification,
        table,
    )

    silence_onnxruntime()
    with ConsoleProgress() as progress:
        exported = run_export(request, progress)
    artifact = exported.artifact
    assert artifact.verification is not None  # noqa: S101 - an export without it raises
    rows = {
        "weights": describe_source(artifact.source),
        **describe_assumptions(artifact.assumptions),
        **describe_verification(artifact.verification),
    }
    if artifact.quantization is not None:
        rows |= describe_quantization(artifact, artifact.quantization, exported.bytes)
    note_lines(table(rows))
    if artifact.source.is_random:
        note("warning: random weights: this model was never trained, and its answers mean nothing")
    if artifact.external_data is not None:
        note(f"Copy both files to the device: {exported.path.name} and {artifact.external_data.file}")
    answer(exported.path)


def _list_models() -> None:
    require_export_extra()
    from vit_export.read.torchvision import MODELS, default_entry, weights_entries

    for model in MODELS:
        typer.echo(model)
        for name, entry in weights_entries(model).items():
            size = entry.meta["min_size"][0]
            accuracy = entry.meta["_metrics"]["ImageNet-1K"]["acc@1"]
            default = ", default" if name == default_entry(model) else ""
            typer.echo(f"  {name:<26} {size} px, ImageNet top-1 {accuracy:.1f} %, {_megabytes(entry)} MB{default}")
        typer.echo(f"  {RANDOM_WEIGHTS:<26} untrained, for trying out without a download")
    for line in _OTHER_SOURCES:
        typer.echo(line)


def _megabytes(entry: object) -> int:
    return round(entry.meta["_file_size"])  # type: ignore[attr-defined,no-any-return]  # torchvision's enum, untyped


def _parse_resize(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    try:
        sizes = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        sizes = ()
    if len(sizes) not in (1, 2):
        raise UsageError(
            option("resize"), f"'{text}' is no size", "give the shortest edge (256) or height x width (224x224)"
        )
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def _parse_rollout(head_fusion: HeadFusion | None, discard_ratio: float | None, *, attention: bool) -> Rollout | None:
    if not attention:
        for name, value in (("head_fusion", head_fusion), ("discard_ratio", discard_ratio)):
            if value is not None:
                raise UsageError(option(name), "is for attention maps", f"add {option('rollout')}, or leave it out")
        return None
    return checked_rollout(head_fusion or "mean", discard_ratio or 0.0)


def _parse_channels(name: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(option(name), f"'{text}' is not three numbers", "for example: 0.485,0.456,0.406") from None
    return red, green, blue


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `vit-export` command."""
    set_up()
    app()
