"""The options that each execution provider gets unless a caller says otherwise, in onnxruntime's own words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Kind = Literal["cpu", "gpu", "npu"]
"""Kinds of devices: processors, graphics processors, neural processing units."""
KIND_NAMES: Final[dict[Kind, str]] = {"cpu": "processor", "gpu": "GPU", "npu": "NPU"}
"""What people call them."""
_WIDE: Final = 384
"""Width of tokens from which on a model is wide: DeiT-S, DINOv2-S; DeiT-Tiny has 192."""
_LARGEST_BATCH: Final = 8
"""Pictures in one run that TensorRT's engine is compiled for; a larger batch makes it compile again."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a provider's options depend on."""

    kind: Kind
    threads: int
    """Processor cores to use for one run."""
    runs: int = 1
    """Runs at a time that the session should be good at."""
    plug_in: bool = False
    """Whether the provider is a plug-in, which may spell its options otherwise than a build of onnxruntime."""
    half: bool = False
    """Whether the file is in half precision."""
    device: int | None = None
    """Number of the device; None is the provider's choice, the first."""
    int8: bool = False
    """Whether the file is in int8."""
    engines: Path | None = None
    """Folder where the provider may keep what it compiles; None keeps nothing."""
    image_hw: tuple[int, int] = (0, 0)
    """Height and width of the pixels that the model takes; known where `engines` is."""
    width: int = 0
    """Width of the model's tokens; known where `engines` is."""


def no_options(wanted: Wanted) -> dict[str, str]:  # noqa: ARG001 - one kind of function
    """The provider's own defaults serve."""
    return {}


def cuda_options(wanted: Wanted) -> dict[str, str]:
    """No TF32: it would round fp32 products to 10 bits of mantissa, which are not the answers of the reference."""
    return {"use_tf32": "0", **_numbered(wanted)}


def tensorrt_options(wanted: Wanted) -> dict[str, str]:
    """Half precision where the file has it, and engines that are kept: compiling one takes minutes.

    For a file in fp32 half precision would not give the answers of the reference.
    """
    options = _numbered(wanted)
    if wanted.half or wanted.int8:
        options["trt_fp16_enable"] = "1"
    if wanted.int8:
        options["trt_int8_enable"] = "1"
    if wanted.engines is not None:
        height, width = wanted.image_hw
        options |= {f"trt_{cache}_cache_enable": "1" for cache in ("engine", "timing")}
        options |= {f"trt_{cache}_cache_path": str(wanted.engines) for cache in ("engine", "timing")}
        # With these shapes the engine is compiled when the file is loaded, once for all batches up to the largest.
        for name, pictures in (("min", 1), ("opt", 1), ("max", _LARGEST_BATCH)):
            options[f"trt_profile_{name}_shapes"] = f"pixels:{pictures}x{height}x{width}x3"
    return options


def always(wanted: Wanted) -> bool:  # noqa: ARG001 - one kind of function
    """The provider always keeps what it compiles."""
    return True


def never(wanted: Wanted) -> bool:  # noqa: ARG001
    """The provider keeps nothing."""
    return False


def openvino_keeps(wanted: Wanted) -> bool:
    """Everything but float32 on processors, which loads as quickly without (docs/log.md)."""
    return wanted.kind != "cpu" or wanted.int8


def openvino_options(wanted: Wanted) -> dict[str, str]:
    """Float32 where the file has it, all threads for one picture, and the quickest answer.

    By itself OpenVINO computes in bfloat16 on processors that can, in int8 files too. These are not the answers of the
    reference, and int8 is slower that way on processors without AMX (docs/log.md).
    """
    device = wanted.kind.upper()
    # Streams are runs at a time. More of them would share the threads out among pictures that are not there.
    threads_of_all, streams = str(wanted.threads * wanted.runs), str(wanted.runs)
    if not wanted.plug_in:
        threads = {"num_of_threads": threads_of_all, "num_streams": streams} if wanted.kind == "cpu" else {}
        kept = {} if wanted.engines is None else {"cache_dir": str(wanted.engines)}
        return {"device_type": device, **threads, **kept}
    properties = {"PERFORMANCE_HINT": "LATENCY" if wanted.runs == 1 else "THROUGHPUT"}
    if wanted.kind != "npu" and not wanted.half:
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    if wanted.kind == "cpu":
        properties |= {"INFERENCE_NUM_THREADS": threads_of_all, "NUM_STREAMS": streams}
        if wanted.int8:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(openvino_group(wanted.width))
    if wanted.engines is not None:
        properties["CACHE_DIR"] = str(wanted.engines)
    return {"load_config": json.dumps({device: properties})}


def openvino_group(width: int) -> int:
    """Values of a row that share a scale where OpenVINO quantizes activations by itself, by the width of tokens.

    Its own 32 are hardly more exact and slower. In narrow models 64 lose less than 128, in wide ones as much, and there
    128 take 5 % less time for the whole model (docs/log.md).
    """
    return 128 if width >= _WIDE else 64


def _numbered(wanted: Wanted) -> dict[str, str]:
    return {} if wanted.device is None else {"device_id": str(wanted.device)}
