"""Artifacts with one thing that is meant to do harm; all are to be refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from onnx import TensorProto, helper

from vit_runtime.artifact import FORMAT_VERSION, METADATA_KEY

from .onnx_parts import DATA, NAME, Files, document, parsed, varint, with_document, with_graph, with_model, with_text

GRAPH_TAG, METADATA_TAG, RAW_DATA_TAG = b"\x3a", b"\x72", b"\x4a"
LENGTHS = {
    "2^31": 1 << 31,
    "2^32": 1 << 32,
    "2^63": 1 << 63,
    "2^64-1": (1 << 64) - 1,
    "2^65": 1 << 65,
    "2^200": 1 << 200,
}
LOCATIONS = ("../x", "/etc/passwd", "x\0y", "a/b", "", ".", "..", "C:\\x", "file:///etc/passwd", NAME, "x" * 5_000)
EDGES: tuple[Any, ...] = (2**31, 2**31 - 1, 2**63, 2**64, 10**400, 0, -1, 5_000, 1.5, True, "37", None, [37], {}, 1e308)
SIZES = ("image_size", "patch_size", "layers", "heads", "width", "mlp_width", "classes", "registers")
HARMLESS = (("registers", 0), ("classes", 0), ("mlp_width", 5_000))
"""What may be so, or is only said: no signature shows the width of an MLP."""


def bad_artifacts(bases: dict[str, Files]) -> Iterator[tuple[str, Files]]:
    """Names and files."""
    yield from _lengths(bases["fp32"])
    yield from _wire_types(bases["fp32"])
    yield from _crowds(bases["fp32"])
    yield from _documents(bases["fp32"])
    yield from _texts(bases["fp32"])
    yield from _graphs(bases["fp32"])
    yield from _locations(bases)


def _lengths(files: Files) -> Iterator[tuple[str, Files]]:
    """Lengths beyond the file and beyond what a number holds, in front of and behind what belongs there."""
    content = files[NAME]
    for name, length in LENGTHS.items():
        for tag, part in ((GRAPH_TAG, "graph"), (METADATA_TAG, "metadata"), (b"\x9a\x06", "unknown")):
            yield f"length_{name}_of_{part}_last", {NAME: content + tag + varint(length)}
            yield f"length_{name}_of_{part}_first", {NAME: tag + varint(length) + content}
        start = content.index(GRAPH_TAG) + 1
        yield f"length_{name}_of_the_graph", {NAME: content[:start] + varint(length) + content[start + 3 :]}


def _wire_types(files: Files) -> Iterator[tuple[str, Files]]:
    content = files[NAME]
    for wire_type in (3, 4, 6, 7):
        for number in (1, 7, 14, 99):
            tag = varint(number << 3 | wire_type)
            yield f"wire_type_{wire_type}_of_{number}", {NAME: content + tag}
            yield f"wire_type_{wire_type}_of_{number}_first", {NAME: tag + content}
    yield "groups_in_groups", {NAME: content + b"\x0b" * 100_000 + b"\x0c" * 100_000}
    yield "field_0", {NAME: content + b"\x00\x00"}
    yield "number_without_end", {NAME: content + b"\x08" + b"\xff" * 100_000}
    yield "tag_without_end", {NAME: content + b"\xff" * 20}


def _crowds(files: Files) -> Iterator[tuple[str, Files]]:
    """Many small things, which a list would hold in more memory than they take in the file."""
    content, model = files[NAME], parsed(files)
    yield "a_million_fields", {NAME: content + b"\x08\x08" * 1_000_000}
    yield "a_million_empty_entries", {NAME: content + METADATA_TAG + b"\0" + (METADATA_TAG + b"\0") * 1_000_000}
    entries = onnx.ModelProto()
    helper.set_model_props(entries, {f"key{number}": "x" for number in range(100_000)})
    yield "100_000_entries", {NAME: content + entries.SerializeToString()}
    entries = onnx.ModelProto()
    helper.set_model_props(entries, {METADATA_KEY: json.dumps(document(files))})
    yield "two_documents", {NAME: content + entries.SerializeToString()}
    helper.set_model_props(model, {METADATA_KEY: "[" * 5_000_000})
    yield "5_million_brackets", with_model(files, model)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(document(files)) + " " * (40 << 20)})
    yield "40_MiB_of_spaces", with_model(files, model)


def _documents(files: Files) -> Iterator[tuple[str, Files]]:
    def put(*path: str, value: Any) -> Files:
        def edit(found: dict[str, Any]) -> None:
            where = found
            for key in path[:-1]:
                where = where[key]
            where[path[-1]] = value

        return with_document(files, edit)

    for number, edge in enumerate(EDGES):
        yield f"edge_{number}", put("preprocessing", "resize_shortest_edge", value=edge)
        yield f"exact_{number}", put("preprocessing", "resize_hw", value=[edge, edge])
        yield f"crop_{number}", put("preprocessing", "crop_hw", value=[edge, edge])
        for size in SIZES:
            if (size, edge) not in HARMLESS:
                yield f"{size}_{number}", put("architecture", size, value=edge)
    for name, value in (("nan", float("nan")), ("infinity", float("inf")), ("large", 10**400), ("text", "x")):
        yield f"mean_{name}", put("preprocessing", "mean", value=[value] * 3)
        yield f"std_{name}", put("preprocessing", "std", value=[value] * 3)
        yield f"epsilon_{name}", put("architecture", "layer_norm_eps", value=value)
    yield "std_0", put("preprocessing", "std", value=[0, 0, 0])
    yield "a_million_labels", put("labels", value=["x"] * 1_000_000)
    yield "labels_too_few", put("labels", value=["x"])
    yield "labels_of_numbers", put("labels", value=list(range(7)))


def _texts(files: Files) -> Iterator[tuple[str, Files]]:
    text = json.dumps(document(files))
    version = f'"format_version": {FORMAT_VERSION}'
    assert version in text
    for name, wrong in {
        "nothing": "",
        "null": "null",
        "number": "4",
        "list": "[]",
        "cut": text[:-1],
        "twice": text * 2,
        "mark": "\ufeff" + text,
        "brackets": "[" * 100_000,
        "objects": '{"a":' * 100_000,
        "digits": text.replace(version, '"format_version": ' + "4" * 10_000),
        "nan": text.replace(version, '"format_version": NaN'),
        "exponent": text.replace(version, '"format_version": 4e999999999'),
    }.items():
        yield f"text_{name}", with_text(files, wrong)


def _graphs(files: Files) -> Iterator[tuple[str, Files]]:
    """What onnxruntime would run, and no artifact has."""

    def with_node(op_type: str, **attributes: Any) -> Files:
        node = helper.make_node(op_type, ["pixels"], ["nowhere"], domain="com.microsoft", **attributes)
        return with_graph(files, lambda graph: graph.node.append(node))

    inner = helper.make_graph([], "inner", [], [])
    yield "compiled_model", with_node("EPContext", ep_cache_context="../../x", embed_mode=0)
    yield "graph_in_a_node", with_node("If", then_branch=inner, else_branch=inner)
    yield "tensor_in_a_node", with_node("Constant", value=helper.make_tensor("x", TensorProto.FLOAT, [1], [1.0]))
    yield "no_graph", {NAME: parsed(files).SerializeToString()[:8]}
    model = parsed(files)
    model.functions.add(name="f", domain="d")
    yield "function", with_model(files, model)
    model = parsed(files)
    model.training_info.add()
    yield "training", with_model(files, model)
    yield "sparse", with_graph(files, lambda graph: graph.sparse_initializer.add())


def _locations(bases: dict[str, Files]) -> Iterator[tuple[str, Files]]:
    """Weights that lie elsewhere: by the tensors, by the document, by both."""

    def tensors(location: str, key: str = "location") -> Callable[[onnx.GraphProto], None]:
        def edit(graph: onnx.GraphProto) -> None:
            for tensor in graph.initializer:
                for entry in tensor.external_data:
                    if entry.key == key:
                        entry.value = location

        return edit

    external = bases["external"]
    for number, location in enumerate(LOCATIONS):
        by_tensors = with_graph(external, tensors(location))
        yield f"location_{number}", by_tensors
        yield (
            f"location_{number}_in_both",
            with_document(by_tensors, lambda d, to=location: d["external_data"].update(file=to)),
        )
        yield (
            f"location_{number}_stated",
            with_document(external, lambda d, to=location: d["external_data"].update(file=to)),
        )
    for number, value in enumerate(("-1", "99999999999999999999999", str(2**63), "x", "", "0x10", str(2**40))):
        yield f"offset_{number}", with_graph(external, tensors(value, "offset"))
        yield f"bytes_{number}", with_graph(external, tensors(value, "length"))
    yield "no_data", {NAME: external[NAME]}
    yield "data_too_short", {**external, DATA: external[DATA][:-1]}
    yield "data_too_long", {**external, DATA: external[DATA] + b"\0"}
    yield "data_unstated", with_document(external, lambda found: found.update(external_data=None))


def shuffled_digest(files: Files, rng: random.Random) -> Files:
    """The last entry, the digest, written in another way that means the same: its bytes differ all the same."""
    model = parsed(files)
    last = model.metadata_props[-1]
    del model.metadata_props[-1]
    key = b"\x0a" + varint(len(last.key)) + last.key.encode()
    value = b"\x12" + varint(len(last.value)) + last.value.encode()
    length = len(key + value)
    entry = rng.choice(
        [
            varint(length) + value + key,
            bytes([length & 0x7F | 0x80, 0x80 | length >> 7, 0]) + key + value,
            varint(length + len(key)) + key + key + value,
        ]
    )
    content = files[NAME]
    return {**files, NAME: content[: content.rindex(METADATA_TAG + varint(length) + key)] + METADATA_TAG + entry}
