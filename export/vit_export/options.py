"""The options of `vit-export`: how the command line shows them, and how their text is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from vit_export.channels import Channels
from vit_export.checks import checked_rollout
from vit_export.request import IMAGENET_LABELS, RANDOM_WEIGHTS, PreprocessingOptions
from vit_runtime.artifact import HeadFusion, Interpolation, Precision, Rollout, Target
from vit_runtime.errors import UsageError, option

_PRECISION = "Precision and target"
_ATTENTION = "Attention maps"
_PREPARATION = "Preparation of pictures, where it is not what the weights bring"

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="vit_b_16 and others (see --list), a name on the Hugging Face hub, a folder, or a checkpoint file.",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(metavar=f"NAME|{RANDOM_WEIGHTS}", help="Published weights.", show_default="torchvision's default"),
]
SeedOption = Annotated[int | None, typer.Option(help=f"Seed of --weights {RANDOM_WEIGHTS}.")]
CheckpointOption = Annotated[
    Path | None, typer.Option(help="Your own weights for MODEL: a state dict, .pth or .safetensors.")
]
LabelsOption = Annotated[str | None, typer.Option(metavar=f"FILE|{IMAGENET_LABELS}", help="Class names, one a line.")]
HeadsOption = Annotated[
    int | None,
    typer.Option(help="Number of attention heads, if MODEL is a file.", show_default="width / 64, ViT-H 16"),
]
ImageSizeOption = Annotated[int | None, typer.Option(help="Input height and width; positions are interpolated.")]
ResizeOption = Annotated[
    str | None,
    typer.Option(metavar="N|HxW", help="Shortest edge, or exact size.", rich_help_panel=_PREPARATION),
]
InterpolationOption = Annotated[
    str | None, typer.Option(metavar="|".join(get_args(Interpolation)), rich_help_panel=_PREPARATION)
]
MeanOption = Annotated[
    str | None,
    typer.Option(metavar="R,G,B", help="Mean of each colour, from 0 to 1.", rich_help_panel=_PREPARATION),
]
StdOption = Annotated[str | None, typer.Option(metavar="R,G,B", rich_help_panel=_PREPARATION)]
PrecisionOption = Annotated[
    Precision, typer.Option(help="Number format of weights and products.", rich_help_panel=_PRECISION)
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Photos for static int8.", show_default="dynamic int8", rich_help_panel=_PRECISION
    ),
]
KeepFloatOption = Annotated[
    str,
    typer.Option(
        metavar="N|NAMES",
        help="int8 layers to keep in float: the N worst, or NAMES (* stands for anything).",
        rich_help_panel=_PRECISION,
    ),
]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        metavar="PERCENT",
        help="Keep more layers in float until at most PERCENT of the calibration answers change.",
        rich_help_panel=_PRECISION,
    ),
]
TargetOption = Annotated[
    str,
    typer.Option(
        metavar=f"{'|'.join(get_args(Target))}[,...]",
        help="What will run the file; gpu means CUDA, portable means TensorRT or CoreML. Several, as in cpu,openvino, "
        "give a file each from one run.",
        rich_help_panel=_PRECISION,
    ),
]
AttentionOption = Annotated[
    bool,
    typer.Option("--attention", help="Add attention maps (rollout) for `vit-run attend`.", rich_help_panel=_ATTENTION),
]
HeadFusionOption = Annotated[
    HeadFusion | None,
    typer.Option(help="How to combine the attention heads.", show_default="mean", rich_help_panel=_ATTENTION),
]
DiscardRatioOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of each token's smallest attention weights to leave out.",
        show_default="0",
        rich_help_panel=_ATTENTION,
    ),
]
AgainstOption = Annotated[
    Literal["library"] | None,
    typer.Option(help="Compare with transformers' or timm's own model instead of a plain one."),
]
TextOption = Annotated[
    bool,
    typer.Option(
        "--text", help="Export the text tower of CLIP or SigLIP, for `vit-run search`; its tokenizer is inside."
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Where to write: a file ending in .onnx, or a folder; for several targets a folder.",
        show_default="models/<model>[.int8|.fp16].onnx",
    ),
]
TritonOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Also put the file into a model repository of Triton. MODEL may be a finished .onnx file then.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
ListModelsOption = Annotated[bool, typer.Option("--list", help="List models and their published weights.")]
ShowVersionOption = Annotated[bool, typer.Option("--version", help="Print the version.")]


def parse_preparation(
    resize: str | None, interpolation: str | None, mean: str | None, std: str | None
) -> PreprocessingOptions:
    """Reads the options for the preparation of pictures; `vit_export.checks` checks what they say.

    Raises:
        UsageError: a text is no size, or no three numbers.
    """
    return PreprocessingOptions(
        resize=parse_resize(resize),
        interpolation=cast("Interpolation | None", interpolation),
        mean=parse_channels("mean", mean),
        std=parse_channels("std", std),
    )


def parse_resize(text: str | None) -> int | tuple[int, int] | None:
    """Reads a shortest edge, or height and width: `256`, `224x224`.

    Raises:
        UsageError: the text is neither.
    """
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


def parse_rollout(head_fusion: HeadFusion | None, discard_ratio: float | None, *, attention: bool) -> Rollout | None:
    """Reads how to roll out attention; None without `--attention`.

    Raises:
        UsageError: an option for attention maps comes without `--attention`, or has a wrong value.
    """
    if not attention:
        for name, value in (("head_fusion", head_fusion), ("discard_ratio", discard_ratio)):
            if value is not None:
                raise UsageError(option(name), "is for attention maps", f"add {option('rollout')}, or leave it out")
        return None
    return checked_rollout(head_fusion or "mean", discard_ratio or 0.0)


def parse_channels(name: str, text: str | None) -> Channels | None:
    """Reads three numbers separated by commas; `name` is the option's name, for the message.

    Raises:
        UsageError: the text is not three numbers.
    """
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(option(name), f"'{text}' is not three numbers", "for example: 0.485,0.456,0.406") from None
    return red, green, blue


def parse_keep_float(text: str) -> int | tuple[str, ...]:
    """Reads a number of layers, or patterns of layer names separated by commas; `vit_export.checks` checks them."""
    if re.fullmatch("-?[0-9]+", text.strip()):
        return int(text)
    return tuple(part.strip() for part in text.split(","))


def parse_targets(text: str) -> list[Target]:
    """Reads targets separated by commas; `vit_export.checks` checks them."""
    return cast("list[Target]", [part.strip() for part in text.split(",")])
