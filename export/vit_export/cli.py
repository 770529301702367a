"""The command `vit-export`: turns a Vision Transformer into one ONNX file.

torch is imported inside the command: `--help` answers at once, and a device without torch gets a clear message.
"""

from __future__ import annotations

import signal
from typing import NoReturn, cast

import typer

from vit_export.checks import checked
from vit_export.extra import require_export_extra
from vit_export.listing import list_published
from vit_export.options import (
    AgainstOption,
    AttentionOption,
    CalibrateOption,
    CheckpointOption,
    DiscardRatioOption,
    ForceOption,
    HeadFusionOption,
    HeadsOption,
    ImageSizeOption,
    InterpolationOption,
    KeepFloatOption,
    LabelsOption,
    ListModelsOption,
    MaxDropOption,
    MeanOption,
    ModelArgument,
    OutputOption,
    PrecisionOption,
    ResizeOption,
    SeedOption,
    ShowVersionOption,
    StdOption,
    TargetOption,
    WeightsOption,
    parse_channels,
    parse_keep_float,
    parse_resize,
    parse_rollout,
)
from vit_export.request import ExportRequest, PreprocessingOptions
from vit_runtime import __version__
from vit_runtime.artifact import Interpolation
from vit_runtime.command_line.console import answer, note, note_lines, report_errors, set_up
from vit_runtime.errors import UsageError, option

app = typer.Typer(name="vit-export", add_completion=False)


@app.command(no_args_is_help=True)
def export(
    *,
    model: ModelArgument = None,
    weights: WeightsOption = None,
    seed: SeedOption = None,
    checkpoint: CheckpointOption = None,
    labels: LabelsOption = None,
    heads: HeadsOption = None,
    image_size: ImageSizeOption = None,
    resize: ResizeOption = None,
    interpolation: InterpolationOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    precision: PrecisionOption = "fp32",
    calibrate: CalibrateOption = None,
    keep_float: KeepFloatOption = "0",
    max_drop: MaxDropOption = None,
    target: TargetOption = "cpu",
    attention: AttentionOption = False,
    head_fusion: HeadFusionOption = None,
    discard_ratio: DiscardRatioOption = None,
    against: AgainstOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
    list_models: ListModelsOption = False,
    show_version: ShowVersionOption = False,
) -> None:
    """Turn a Vision Transformer into one ONNX file that answers as PyTorch does."""
    with report_errors():
        if show_version:
            typer.echo(f"vit-edge {__version__}")
            return
        if list_models:
            list_published()
            return
        if model is None:
            raise UsageError(option("model"), "missing", "for example: vit-export vit_b_16")
        preparation = PreprocessingOptions(
            resize=parse_resize(resize),
            interpolation=cast("Interpolation | None", interpolation),
            mean=parse_channels("mean", mean),
            std=parse_channels("std", std),
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
            rollout=parse_rollout(head_fusion, discard_ratio, attention=attention),
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
    from vit_runtime.command_line.summary import (
        describe_assumptions,
        describe_quantization,
        describe_source,
        describe_verification,
        table,
    )
    from vit_runtime.devices.engine import silence_onnxruntime

    silence_onnxruntime()
    with ConsoleProgress() as progress:
        exported = run_export(request, progress)
    artifact = exported.artifact
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


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `vit-export` command."""
    set_up()
    app()
