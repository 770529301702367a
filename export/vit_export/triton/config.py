"""`config.pbtxt`: how Triton's onnxruntime backend runs an artifact, by the artifact's target.

The fields are those of `ModelConfig` in `protobuf/model_config.proto` of https://github.com/triton-inference-server/common,
the parameters and accelerators those of https://github.com/triton-inference-server/onnxruntime_backend.
"""

from __future__ import annotations

import json
from typing import Final

from vit_export.triton.text import Message, Name, message_text
from vit_runtime.artifact import Artifact, Target, codec

LABELS: Final = "labels.txt"
PREPROCESSING: Final = "vit_edge_preprocessing"
"""Key of the parameter that tells clients how to prepare pictures: JSON, as in the artifact's metadata."""
DIGEST: Final = "vit_edge_sha256"
"""Key of the parameter that tells which file is served: the digest that the artifact carries."""
PROBABILITIES: Final = "vit_edge_probabilities"
"""Key of the parameter that tells how logits become probabilities: softmax or sigmoid; absent without classes."""
_ON_GPU: Final[frozenset[Target]] = frozenset({"gpu", "portable"})
_BATCH: Final = {False: 8, True: 32}
"""Most pictures in one run, on processors and on a GPU."""
_WAIT: Final = {False: 0, True: 1000}
"""Microseconds that a picture waits for others: batches gain nothing on processors."""
_HEAD: Final = """\
# Made by vit-edge for the onnxruntime backend of Triton 25.03 or newer. docs/clusters.md says what may be changed.
"""
_OF_CORES: Final = """\
# Each instance below computes one batch on one core: set count to the server's number of cores.
"""


def config_text(artifact: Artifact, name: str, digest: str) -> str:
    """Gives the text of `config.pbtxt`.

    Args:
        artifact: what the model's file says about itself.
        name: the model's name on the server, which its folder has, too.
        digest: the digest that the file carries.
    """
    on_gpu = artifact.target in _ON_GPU
    height, width = artifact.preprocessing.crop_hw
    config: dict[str, Message | list[Message] | str | int] = {
        "name": name,
        "backend": "onnxruntime",
        "max_batch_size": _BATCH[on_gpu],
        "input": [{"name": "pixels", "data_type": Name("TYPE_UINT8"), "dims": [height, width, 3]}],
        "output": _outputs(artifact),
        # No preferred sizes: Triton's guide has them for engines with several profiles alone.
        "dynamic_batching": {"max_queue_delay_microseconds": _WAIT[on_gpu]},
        "instance_group": [_instances(artifact.target)],
    }
    if accelerators := _accelerators(artifact):
        config["optimization"] = {"execution_accelerators": accelerators}
    parameters = _parameters(artifact.target) | {
        PREPROCESSING: json.dumps(codec.encode(artifact.preprocessing)),
        DIGEST: digest,
    }
    if artifact.head is not None:
        parameters[PROBABILITIES] = artifact.head.probabilities
    config["parameters"] = [{"key": key, "value": {"string_value": text}} for key, text in parameters.items()]
    sizes = [1, _BATCH[on_gpu]] if on_gpu else [1]
    config["model_warmup"] = [_warm_up(size, (height, width)) for size in sizes]
    return _HEAD + (_OF_CORES if artifact.target == "cpu" else "") + message_text(config)


def _outputs(artifact: Artifact) -> list[Message]:
    outputs: list[Message] = []
    for name in artifact.outputs:
        output = {"name": name, "data_type": Name("TYPE_FP32"), "dims": list(artifact.shape(name))}
        labelled = name == "logits" and artifact.labels is not None
        outputs.append(output | {"label_filename": LABELS} if labelled else output)
    return outputs


def _instances(target: Target) -> Message:
    """Two instances are what Triton itself makes for this backend on processors; OpenVINO shares cores by itself."""
    kind = "KIND_GPU" if target in _ON_GPU else "KIND_CPU"
    return {"count": 2 if target == "cpu" else 1, "kind": Name(kind)}


def _parameters(target: Target) -> dict[str, str]:
    """On processors a run has one thread, and the instances share a session, and so its memory."""
    return {"intra_op_thread_count": "1", "share_session_between_instances": "true"} if target == "cpu" else {}


def _accelerators(artifact: Artifact) -> Message:
    """Gives what the runtime's own providers are given (`vit_runtime.devices.options`), as Triton spells it."""
    if artifact.target == "openvino":
        return {"cpu_execution_accelerator": [{"name": "openvino"}]}
    if artifact.target == "gpu":
        return {"gpu_execution_accelerator": [_accelerator("cuda", {"use_tf32": "0"})]}
    if artifact.target == "portable":
        height, width = artifact.preprocessing.crop_hw
        # With these shapes the engine is compiled once, for all batches up to the largest.
        shapes = {
            f"trt_profile_{which}_shapes": f"pixels:{pictures}x{height}x{width}x3"
            for which, pictures in (("min", 1), ("opt", _BATCH[True]), ("max", _BATCH[True]))
        }
        return {
            "gpu_execution_accelerator": [
                _accelerator("tensorrt", {"precision_mode": artifact.precision.upper(), **shapes})
            ]
        }
    return {}


def _accelerator(name: str, parameters: dict[str, str]) -> Message:
    return {"name": name, "parameters": [{"key": key, "value": value} for key, value in parameters.items()]}


def _warm_up(pictures: int, size_hw: tuple[int, int]) -> Message:
    """A run on black pictures before the first request: engines are compiled and memory is taken then."""
    pixels: Message = {"data_type": Name("TYPE_UINT8"), "dims": [*size_hw, 3], "zero_data": True}
    inputs: list[Message] = [{"key": "pixels", "value": pixels}]
    return {"name": f"{pictures} at a time", "batch_size": pictures, "inputs": inputs}
