"""One record for each execution provider: its names, where it comes from, its options, and what to do if it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from vit_runtime.devices.options import (
    Kind,
    Wanted,
    always,
    cuda_options,
    never,
    no_options,
    openvino_keeps,
    openvino_options,
    tensorrt_options,
)
from vit_runtime.errors import option

Provider = Literal[
    "auto",
    "cpu",
    "openvino",
    "openvino:gpu",
    "openvino:npu",
    "cuda",
    "tensorrt",
    "tensorrt-rtx",
    "webgpu",
    "coreml",
    "qnn",
    "directml",
]
"""What can be asked for: the best that works, or a provider, with a kind of device where it has several."""
PROVIDERS: Final[tuple[Provider, ...]] = get_args(Provider)

CPU_PROVIDER: Final = "CPUExecutionProvider"
"""onnxruntime's name of its own provider for processors."""
_WITH_GPU: Final = "install vit-edge[gpu] in an environment without vit-edge[cpu]"


@dataclass(frozen=True, kw_only=True)
class PlugIn:
    """A package with a provider's library, beside the ordinary onnxruntime."""

    distribution: str
    """The name that pip knows."""
    module: str
    """The name that Python imports; it says where the library lies."""


@dataclass(frozen=True, kw_only=True)
class ExecutionProvider:
    """An execution provider of onnxruntime, and how it is used here."""

    name: str
    full_name: str
    """onnxruntime's name of the provider."""
    kinds: tuple[Kind, ...] = ("gpu",)
    """Kinds of devices that it computes on; the first where none is asked for."""
    plug_in: PlugIn | None = None
    """The package that brings it; None where it has to be built into onnxruntime."""
    how_to_get: str = ""
    """What to do where this provider is not here; empty for the CPU's, which no build lacks."""
    fix: str = ""
    """What to do where this provider is here but does not run; empty where only the CPU is left."""
    options: Callable[[Wanted], Mapping[str, str]] = no_options
    """Gives the options that are set for this provider; the caller's override them."""
    keeps_engines: Callable[[Wanted], bool] = never
    """Says whether this provider keeps what it compiles, for a quicker start."""
    numbered: bool = False
    """Whether this provider's devices have numbers."""
    needs_cuda: bool = False
    """Whether this provider's library needs CUDA's, which pip may have put where the linker does not look."""

    def named(self, kind: Kind) -> Provider:
        """What users call this provider on a kind of device."""
        return cast("Provider", self.name if kind == self.kinds[0] else f"{self.name}:{kind}")

    @property
    def how_to_run(self) -> str:
        """What to do where this provider is here but does not run."""
        return self.fix or f"try {option('provider', 'cpu')}"


CPU: Final = ExecutionProvider(name="cpu", full_name=CPU_PROVIDER, kinds=("cpu",))
OPENVINO: Final = ExecutionProvider(
    name="openvino",
    full_name="OpenVINOExecutionProvider",
    kinds=("cpu", "gpu", "npu"),
    plug_in=PlugIn(distribution="onnxruntime-ep-openvino", module="onnxruntime_ep_openvino"),
    how_to_get="install vit-edge[openvino]",
    options=openvino_options,
    keeps_engines=openvino_keeps,
)
CUDA: Final = ExecutionProvider(
    name="cuda",
    full_name="CUDAExecutionProvider",
    how_to_get=f"{_WITH_GPU}; on a Jetson, NVIDIA's own wheel",
    fix="see that the driver works (nvidia-smi) and CUDA is there: pip install 'onnxruntime-gpu[cuda,cudnn]'",
    options=cuda_options,
    numbered=True,
    needs_cuda=True,
)
TENSORRT: Final = ExecutionProvider(
    name="tensorrt",
    full_name="TensorrtExecutionProvider",
    how_to_get=f"{_WITH_GPU}, and TensorRT",
    fix="see that the driver works (nvidia-smi) and that TensorRT's libraries are installed",
    options=tensorrt_options,
    keeps_engines=always,
    numbered=True,
    needs_cuda=True,
)
TENSORRT_RTX: Final = ExecutionProvider(
    name="tensorrt-rtx",
    full_name="NvTensorRTRTXExecutionProvider",
    plug_in=PlugIn(distribution="onnxruntime-ep-nv-tensorrt-rtx", module="onnxruntime_ep_nv_tensorrt_rtx"),
    how_to_get="install vit-edge[tensorrt-rtx]",
    fix="see that the driver works (nvidia-smi) and the GPU is an RTX",
)
WEBGPU: Final = ExecutionProvider(
    name="webgpu",
    full_name="WebGpuExecutionProvider",
    plug_in=PlugIn(distribution="onnxruntime-ep-webgpu", module="onnxruntime_ep_webgpu"),
    how_to_get="install vit-edge[webgpu]",
    fix="see that the GPU's driver for Vulkan (Linux), Direct3D 12 (Windows) or Metal (macOS) is there",
)
COREML: Final = ExecutionProvider(
    name="coreml",
    full_name="CoreMLExecutionProvider",
    kinds=("npu",),
    how_to_get="use vit-edge[cpu] on macOS",
)
QNN: Final = ExecutionProvider(
    name="qnn",
    full_name="QNNExecutionProvider",
    kinds=("npu",),
    plug_in=PlugIn(distribution="onnxruntime-qnn", module="onnxruntime_qnn"),
    how_to_get="install vit-edge[qnn]",
)
DIRECTML: Final = ExecutionProvider(
    name="directml",
    full_name="DmlExecutionProvider",
    how_to_get="install onnxruntime-directml on Windows, in an environment without vit-edge[cpu]",
)
EXECUTION_PROVIDERS: Final = {
    record.name: record for record in (CPU, OPENVINO, CUDA, TENSORRT, TENSORRT_RTX, WEBGPU, COREML, QNN, DIRECTML)
}
"""The record of each provider by its name, without a kind of device; "auto" has none, since it chooses among them."""

SLOW_TO_START: Final[dict[str, str]] = {TENSORRT.name: "its first start takes minutes; name it to try it"}
"""Providers that are not tried unless they are asked for, and why."""


def parse(provider: Provider) -> tuple[ExecutionProvider, Kind]:
    """The record and the kind of device that a known name stands for; "auto" stands for none."""
    name, _, kind = provider.partition(":")
    record = EXECUTION_PROVIDERS[name]
    return record, next((each for each in record.kinds if each == kind), record.kinds[0])


def closest(text: object) -> str:
    """What to do instead of asking for a provider that does not exist: names like it, or all names."""
    import difflib  # only for whoever misspells

    like = difflib.get_close_matches(str(text), PROVIDERS)
    return f"did you mean {' or '.join(like)}?" if like else f"choose one of {', '.join(PROVIDERS)}"
