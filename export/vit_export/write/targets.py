"""How a graph is written for a precision and target, and what of it this machine can check."""

from __future__ import annotations

from vit_export.request import ExportRequest
from vit_export.write.half import Half
from vit_export.write.lowering import Float32, FusedFloat32, Lowering
from vit_runtime.artifact import Artifact


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
