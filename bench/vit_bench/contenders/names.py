"""The contenders by name, in the order of every table."""

from __future__ import annotations

from typing import Final, Literal, get_args

Tool = Literal[
    "vit-edge",
    "torch",
    "torch-compile",
    "torch-bf16",
    "torch-int8",
    "onnx",
    "onnx-optimized",
    "onnx-dynamic",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "openvino-int8-bf16",
    "mnn",
    "mnn-int8",
    "ncnn",
    "executorch",
    "executorch-int8",
]
"""Every contender; all but the first are what users would take instead."""
OWN: Final[Tool] = "vit-edge"
REFERENCE: Final[Tool] = "torch"
TOOLS: Final[tuple[Tool, ...]] = tuple(tool for tool in get_args(Tool) if tool != OWN)
"""What can be measured against."""
FOLDER_TOOLS: Final[tuple[Tool, ...]] = (REFERENCE, "torch-bf16")
"""What can be measured against over a folder: what a `DataLoader` feeds."""
