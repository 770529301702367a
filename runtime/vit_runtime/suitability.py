"""Which providers a file is made for, and what to say where another one runs it."""

from __future__ import annotations

from typing import Final

from vit_runtime.artifact import Description
from vit_runtime.devices.providers import CPU_PROVIDER, Provider
from vit_runtime.errors import option

_OF_TENSORRT: Final = (
    "this file is for TensorRT; here, on x86 processors, one exported with {} is faster, and with OpenVINO {}"
)
_OF_OPENVINO: Final = "this file is for OpenVINO, which vit-edge[openvino] brings"
_FP16_ON_CPU: Final = (
    "this file is fp16, for a GPU; on the CPU onnxruntime computes it slowly, on some ARM builds wrongly: see that its "
    "self-test passes (vit-run check), or export it in fp32 or int8"
)


def preferred(description: Description) -> tuple[Provider, ...]:
    """The providers that "auto" tries before the CPU's, in this order.

    TensorRT is never among them, whose first start takes minutes. An int8 file for the CPU has products that no other
    provider knows.
    """
    if description.target == "openvino":
        return ("openvino",)
    if description.precision == "int8":
        return ("openvino",) if description.target == "portable" else ()
    return ("cuda",)


def unfit(description: Description, provider: str) -> str:
    """Says why a file suits a provider badly, by onnxruntime's name of the provider; empty where it suits."""
    if provider != CPU_PROVIDER:
        return ""
    if description.precision == "fp16":
        return _FP16_ON_CPU
    if description.precision == "int8" and description.target == "portable":
        return _OF_TENSORRT.format(option("target", "cpu"), option("target", "openvino"))
    if description.target == "openvino":
        return _OF_OPENVINO
    return ""
