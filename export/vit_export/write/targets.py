"""Chooses how a graph that is not int8 is written, by precision and target."""

from __future__ import annotations

from vit_export.write.half import Half
from vit_export.write.lowering import Float32, FusedFloat32, Lowering
from vit_runtime.artifact import Precision, Target


def float_lowering(precision: Precision, target: Target) -> Lowering:
    """Gives single or half precision, with onnxruntime's fused attention if the target is CUDA."""
    if precision == "fp16":
        return Half(fused=target == "gpu")
    return FusedFloat32() if target == "gpu" else Float32()
