"""One record for each execution provider: its names, its options, and what to do where it does not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from vit_runtime.errors import option

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml"]
PROVIDERS: Final[tuple[Provider, ...]] = get_args(Provider)

CPU_PROVIDER: Final = "CPUExecutionProvider"
"""onnxruntime's name of its own provider for processors."""
_WITH_GPU: Final = "install vit-edge[gpu] in an environment without vit-edge[cpu]"


@dataclass(frozen=True, kw_only=True)
class ExecutionProvider:
    """An execution provider of onnxruntime, and how it is used here."""

    name: Provider
    full_name: str
    """onnxruntime's name of the provider."""
    how_to_get: str = ""
    """What to do where onnxruntime was built without this provider; empty for the CPU's, which no build lacks."""
    fix: str = ""
    """What to do where this provider is compiled in but does not run; empty where only the CPU is left."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options that are always set for this provider, as onnxruntime spells them; the caller's options override them."""
    numbered: bool = False
    """Whether this provider's devices have numbers."""
    needs_cuda: bool = False
    """Whether this provider's library needs CUDA's, which pip may have put where the linker does not look."""

    @property
    def how_to_run(self) -> str:
        """What to do where this provider is compiled in but does not run."""
        return self.fix or f"try {option('provider', 'cpu')}"


CPU: Final = ExecutionProvider(name="cpu", full_name=CPU_PROVIDER)
CUDA: Final = ExecutionProvider(
    name="cuda",
    full_name="CUDAExecutionProvider",
    how_to_get=f"{_WITH_GPU}; on a Jetson, NVIDIA's own wheel",
    fix="see that the driver works (nvidia-smi) and CUDA is there: pip install 'onnxruntime-gpu[cuda,cudnn]'",
    # TF32 would round fp32 products to 10 bits of mantissa: not the answers of the reference.
    options={"use_tf32": "0"},
    numbered=True,
    needs_cuda=True,
)
TENSORRT: Final = ExecutionProvider(
    name="tensorrt",
    full_name="TensorrtExecutionProvider",
    how_to_get=f"{_WITH_GPU}, and TensorRT",
    fix="see that the driver works (nvidia-smi) and that TensorRT's libraries are installed",
    numbered=True,
    needs_cuda=True,
)
OPENVINO: Final = ExecutionProvider(
    name="openvino",
    full_name="OpenVINOExecutionProvider",
    how_to_get="install vit-edge[openvino] in an environment without vit-edge[cpu]",
)
COREML: Final = ExecutionProvider(
    name="coreml", full_name="CoreMLExecutionProvider", how_to_get="use vit-edge[cpu] on macOS"
)
EXECUTION_PROVIDERS: Final = {record.name: record for record in (CPU, CUDA, TENSORRT, OPENVINO, COREML)}
"""The record of each provider by its short name; "auto" has none, since it chooses among them."""
