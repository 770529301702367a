"""The command `vit-export`: turns a Vision Transformer into one ONNX file.

torch is imported inside the command: `--help` answers at once, and a device without torch gets a clear message.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NoReturn

import typer

from vit_export.checks import checked_for
from vit_export.extra import require_export_extra
from vit_export.head_options import ClassesOption, ExamplesOption, PromptOption, UnknownOption
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
    TextOption,
    TritonOption,
    WeightsOption,
    parse_keep_float,
    parse_preparation,
    parse_rollout,
    parse_targets,
)
from vit_export.request import ExportRequest, replaces_head
from vit_export.served import check_served, is_finished
from vit_export.triton.repository import write_repository
from vit_runtime import __version__
from vit_runtime.artifact import Target
from vit_runtime.command_line.console import answer, report_errors, set_up
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
    classes: ClassesOption = None,
    prompt: PromptOption = None,
    examples: ExamplesOption = None,
    unknown: UnknownOption = False,
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
    text: TextOption = False,
    output: OutputOption = None,
    triton: TritonOption = None,
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
        request = ExportRequest(
            model=model,
            weights=weights,
            seed=seed,
            checkpoint=checkpoint,
            labels=labels,
            classes=classes,
            prompt=prompt or (),
            examples=examples,
            unknown=unknown,
            image_size=image_size,
            heads=heads,
            preprocessing=parse_preparation(resize, interpolation, mean, std),
            rollout=parse_rollout(head_fusion, discard_ratio, attention=attention),
            precision=precision,
            calibrate=calibrate,
            keep_float=parse_keep_float(keep_float),
            max_drop=max_drop,
            against=against,
            text=text,
            output=output,
            force=force,
        )
        targets = parse_targets(target)
        requests = checked_for(request, targets)  # before torch is imported
        # A polite kill cleans up exactly as Ctrl-C does.
        signal.signal(signal.SIGTERM, _interrupt)
        if text:
            _run_text(requests, triton)
            return
        if triton is not None and is_finished(requests):
            answer(write_repository(requests[0].model, triton, force=force))
            return
        _run(request, targets, triton)


def _run(request: ExportRequest, targets: list[Target], triton: Path | None) -> None:
    if not replaces_head(request):  # an artifact that gets a new head needs less, and asks for it
        require_export_extra()
    if triton is not None:
        check_served(request, targets, triton)
    from vit_export import export_for
    from vit_export.console_progress import ConsoleProgress
    from vit_export.report import report
    from vit_runtime.devices.engine import silence_onnxruntime

    silence_onnxruntime()
    with ConsoleProgress() as progress:
        exports = export_for(request, targets, progress)
    report(exports)
    for exported in exports:
        answer(exported.path)
    if triton is not None:
        for exported in exports:
            answer(write_repository(exported.path, triton, force=request.force))


def _run_text(requests: list[ExportRequest], triton: Path | None) -> None:
    if triton is not None:
        raise UsageError(option("repository"), "takes no text towers", "leave it out")
    if len(requests) > 1:
        raise UsageError(option("targets"), f"one at a time with {option('text')}", "name one")
    require_export_extra()
    from vit_export.console_progress import ConsoleProgress
    from vit_export.report import report_text
    from vit_export.texts.exporter import export_text
    from vit_runtime.devices.engine import silence_onnxruntime

    silence_onnxruntime()
    with ConsoleProgress() as progress:
        exported = export_text(requests[0], progress)
    report_text(exported)
    answer(exported.path)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `vit-export` command."""
    set_up()
    app()
