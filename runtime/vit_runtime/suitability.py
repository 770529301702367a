"""Which providers a file is made for, and what to say where another one runs it."""

from __future__ import annotations

from typing import Final, Protocol

from vit_runtime.artifact import Precision, Target
from vit_runtime.devices.providers import CPU, CPU_PROVIDER, Provider, parse
from vit_runtime.errors import ProviderError, option

_OF_TENSORRT: Final = (
    "this file is for TensorRT; here, on x86 processors, one exported with {} is faster, and with OpenVINO {}"
)
_OF_OPENVINO: Final = "this file is for OpenVINO (vit-edge[openvino])"
_FP16_ON_CPU: Final = (
    "this file is fp16, for a GPU; on the CPU onnxruntime computes it slowly, on some ARM builds wrongly: see that its "
    "self-test passes (vit-run check), or export it in fp32 or int8"
)


class Made(Protocol):
    """What a file says about itself that decides who runs it: a picture model's description, or a text tower's."""

    @property
    def precision(self) -> Precision:
        """The format of its linear layers."""

    @property
    def target(self) -> Target:
        """The operators that its graph uses."""


def preferred(description: Made) -> tuple[Provider, ...]:
    """The providers that "auto" tries before the CPU's, in this order.

    TensorRT is never among them, whose first start takes minutes. An int8 file for the CPU has products that no other
    provider knows.
    """
    if description.target == "openvino":
        return ("openvino",)
    if description.precision == "int8":
        return ("openvino",) if description.target == "portable" else ()
    return ("cuda",)


def suits(description: Made, provider: Provider) -> bool:
    """Whether a provider knows a file's operators; one that does not fails over them in its own way.

    OpenVINO, for one, opens an int8 file for the CPU, and fails or crashes when it runs (docs/log.md).
    """
    own_products = description.precision == "int8" and description.target == "cpu"
    return not own_products or provider == "auto" or parse(provider)[0] is CPU


def check_suits(description: Made, provider: Provider) -> None:
    """Refuses a provider that does not know a file's operators.

    Raises:
        ProviderError: they are those of another provider.
    """
    if not suits(description, provider):
        what = "cannot run this file, whose int8 products are onnxruntime's own for processors"
        remedy = f"try {option('provider', 'cpu')}, or export with {option('target', 'openvino')}"
        raise ProviderError(f"provider '{provider}'", what, remedy)


def unfit(description: Made, provider: str) -> str:
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
