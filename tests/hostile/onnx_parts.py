"""Takes an artifact apart and puts it together again, with its metadata or its graph changed on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import onnx

from vit_runtime.artifact import METADATA_KEY

NAME = "tiny.onnx"
DATA = f"{NAME}.data"

Files = Mapping[str, bytes]
"""An artifact by the names of its files."""


def parsed(files: Files) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(files[NAME])


def with_model(files: Files, model: onnx.ModelProto) -> dict[str, bytes]:
    """The artifact with another model; its metadata has to come last, and does."""
    return {**files, NAME: model.SerializeToString()}


def document(files: Files) -> dict[str, Any]:
    """What the artifact says about itself."""
    entries = {entry.key: entry.value for entry in parsed(files).metadata_props}
    found: dict[str, Any] = json.loads(entries[METADATA_KEY])
    return found


def with_text(files: Files, text: str) -> dict[str, bytes]:
    """The artifact with a text in place of its document."""
    model = parsed(files)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, entries | {METADATA_KEY: text})
    return with_model(files, model)


def with_document(files: Files, edit: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """The artifact with a document that `edit` has changed in place."""
    changed = document(files)
    edit(changed)
    return with_text(files, json.dumps(changed))


def with_graph(files: Files, edit: Callable[[onnx.GraphProto], object]) -> dict[str, bytes]:
    """The artifact with a graph that `edit` has changed in place."""
    model = parsed(files)
    edit(model.graph)
    return with_model(files, model)


def varint(value: int) -> bytes:
    """Protobuf's integers, of any length."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
