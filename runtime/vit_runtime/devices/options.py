"""The options that each execution provider gets unless a caller says otherwise, in onnxruntime's own words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["cpu", "gpu", "npu"]
"""Kinds of devices: processors, graphics processors, neural processing units."""
KIND_NAMES: Final[dict[Kind, str]] = {"cpu": "processor", "gpu": "GPU", "npu": "NPU"}
"""What people call them."""
_STREAMS: Final = "1"
"""OpenVINO's streams: runs at a time. More would share the threads out among pictures that are not there."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a provider's options depend on."""

    kind: Kind
    threads: int
    """Processor cores to use."""
    plug_in: bool = False
    """Whether the provider is a plug-in, which may spell its options otherwise than a build of onnxruntime."""
    half: bool = False
    """Whether the file is in half precision."""
    device: int | None = None
    """Number of the device; None is the provider's choice, the first."""


def no_options(wanted: Wanted) -> dict[str, str]:  # noqa: ARG001 - one kind of function
    """The provider's own defaults serve."""
    return {}


def cuda_options(wanted: Wanted) -> dict[str, str]:
    """No TF32: it would round fp32 products to 10 bits of mantissa, which are not the answers of the reference."""
    return {"use_tf32": "0", **_numbered(wanted)}


def tensorrt_options(wanted: Wanted) -> dict[str, str]:
    """The device's number alone."""
    return _numbered(wanted)


def openvino_options(wanted: Wanted) -> dict[str, str]:
    """Float32 where the file has it, all threads for one picture, and the quickest answer.

    By itself OpenVINO computes in bfloat16 on processors that can, in int8 files too. These are not the answers of the
    reference, and int8 is slower that way on processors without AMX (docs/log.md).
    """
    device = wanted.kind.upper()
    if not wanted.plug_in:
        threads = {"num_of_threads": str(wanted.threads), "num_streams": _STREAMS} if wanted.kind == "cpu" else {}
        return {"device_type": device, **threads}
    properties = {"PERFORMANCE_HINT": "LATENCY"}
    if wanted.kind != "npu" and not wanted.half:
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    if wanted.kind == "cpu":
        properties |= {"INFERENCE_NUM_THREADS": str(wanted.threads), "NUM_STREAMS": _STREAMS}
    return {"load_config": json.dumps({device: properties})}


def _numbered(wanted: Wanted) -> dict[str, str]:
    return {} if wanted.device is None else {"device_id": str(wanted.device)}
