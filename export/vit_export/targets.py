"""Which precision goes with which target, and what of it this machine can check."""

from __future__ import annotations

from vit_export.half import Half
from vit_export.lowering import Float32, FusedFloat32, Lowering
from vit_export.request import RANDOM_WEIGHTS, ExportRequest
from vit_runtime.artifact import Artifact
from vit_runtime.errors import UsageError


def check_options(request: ExportRequest) -> None:
    """Refuses options that do not go together.

    Raises:
        UsageError: with the reason.
    """
    if request.seed is not None and request.weights != RANDOM_WEIGHTS:
        raise UsageError("--seed", "is for random weights", f"add --weights {RANDOM_WEIGHTS}, or leave it out")
    if request.precision == "fp16" and request.target == "cpu":
        raise UsageError(
            "--precision fp16",
            "is not for the CPU: onnxruntime's half-precision kernels there are slow, and on some ARM builds wrong",
            "add --target gpu or --target portable, or take --precision int8",
        )
    if request.precision == "int8":
        _check_int8_options(request)
        return
    options = {
        "--calibrate": request.calibrate is not None,
        "--keep-float": request.keep_float != 0,
        "--max-drop": request.max_drop is not None,
    }
    for option, given in options.items():
        if given:
            raise UsageError(option, "is for int8", "add --precision int8, or leave it out")


def _check_int8_options(request: ExportRequest) -> None:
    if request.target == "gpu":
        raise UsageError(
            "--precision int8",
            "is not for --target gpu: onnxruntime on CUDA has no fast int8 kernels for these operators",
            "take --target portable for TensorRT, or --precision fp16",
        )
    if request.target == "portable" and request.calibrate is None:
        raise UsageError("--target portable", "takes static int8 only", "add --calibrate and a folder of pictures")
    if request.max_drop is not None:
        if request.calibrate is None:
            raise UsageError("--max-drop", "is measured on calibration pictures", "add --calibrate")
        if not 0 <= request.max_drop < 100:  # also refuses NaN
            raise UsageError("--max-drop", f"{request.max_drop} is no share", "give a percentage from 0 to below 100")


def float_lowering(request: ExportRequest) -> Lowering:
    """How the graph is written where it is not int8."""
    if request.precision == "fp16":
        return Half(fused=request.target == "gpu")
    return FusedFloat32() if request.target == "gpu" else Float32()


def not_checked(artifact: Artifact, provider: str) -> str:
    """What the verification on a provider says nothing about, in words; empty where it says it all."""
    if provider != "CPUExecutionProvider" or artifact.target == "cpu":
        return ""
    emulated = ", where fp16 is computed in fp32 and rounded" if artifact.precision == "fp16" else ""
    if artifact.target == "gpu":
        return f"checked on the CPU{emulated}: no CUDA here"
    if artifact.precision == "fp32":
        return ""
    return f"checked on the CPU{emulated}: not with TensorRT, OpenVINO or other runtimes"
