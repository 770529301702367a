"""How a graph is written for a precision and target, where it is not int8."""

from __future__ import annotations

from vit_export.write.half import Half
from vit_export.write.lowering import Float32, FusedFloat32, Lowering
from vit_runtime.artifact import Precision, Target


def float_lowering(precision: Precision, target: Target) -> Lowering:
    """Single or half precision, with onnxruntime's fused attention where CUDA is the target."""
    if precision == "fp16":
        return Half(fused=target == "gpu")
    return FusedFloat32() if target == "gpu" else Float32()
