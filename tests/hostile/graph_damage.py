"""Changes a graph so that it still parses: what reaches the engine, and not only the parser."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, numpy_helper

INTEGERS = (0, 1, -1, 2, 7, 255, 65_536, 2**31 - 1, 2**31, -(2**31), 2**40, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e-45, 3e38, float("inf"), float("nan"))
OTHER_OPERATORS = (
    *("Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Pad", "Resize", "RandomNormal", "Conv", "Einsum"),
    *("Gather", "Slice", "Split", "Concat", "Range", "OneHot", "NonZero", "LSTM", "MaxPool", "QLinearMatMul"),
)
"""Operators that no artifact has, or that would allocate."""

Damage = Callable[[GraphProto, random.Random], None]


def damage_graph(model: onnx.ModelProto, rng: random.Random) -> None:
    """One to three changes, in place."""
    for _ in range(rng.randint(1, 3)):
        rng.choice(DAMAGES)(model.graph, rng)
    if rng.random() < 0.05:
        model.ir_version = rng.choice([0, 3, 99, 2**31])
    if rng.random() < 0.05:
        model.opset_import[0].version = rng.choice([0, 1, 7, 99, 2**31])


def _some(things: Sequence[Any], rng: random.Random) -> Any:
    return things[rng.randrange(len(things))]


def change_attribute(graph: GraphProto, rng: random.Random) -> None:
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    if not attributes:
        return
    attribute = _some(attributes, rng)
    attribute.i, attribute.f = rng.choice(INTEGERS), rng.choice(FLOATS)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(INTEGERS)
        if rng.random() < 0.3:
            attribute.ints.append(rng.choice(INTEGERS))
    if rng.random() < 0.1:
        attribute.type = rng.choice([AttributeProto.INT, AttributeProto.FLOAT, AttributeProto.INTS])


def change_operator(graph: GraphProto, rng: random.Random) -> None:
    known = tuple({node.op_type for node in graph.node})
    _some(graph.node, rng).op_type = rng.choice((*known, *OTHER_OPERATORS))


def rewire(graph: GraphProto, rng: random.Random) -> None:
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    node = _some(graph.node, rng)
    places = node.input if rng.random() < 0.8 else node.output
    if places:
        places[rng.randrange(len(places))] = rng.choice((*names, "", "nowhere"))


def drop_node(graph: GraphProto, rng: random.Random) -> None:
    del graph.node[rng.randrange(len(graph.node))]


def repeat_node(graph: GraphProto, rng: random.Random) -> None:
    graph.node.insert(rng.randrange(len(graph.node)), _some(graph.node, rng))


def change_shape_of_weights(graph: GraphProto, rng: random.Random) -> None:
    tensor = _some(graph.initializer, rng)
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(INTEGERS)
    if rng.random() < 0.2:
        tensor.dims.append(rng.choice(INTEGERS))


def change_type_of_weights(graph: GraphProto, rng: random.Random) -> None:
    _some(graph.initializer, rng).data_type = rng.randrange(30)


def cut_weights(graph: GraphProto, rng: random.Random) -> None:
    tensor = _some(graph.initializer, rng)
    tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]


def change_numbers(graph: GraphProto, rng: random.Random) -> None:
    """Those of shapes, axes and indices."""
    whole = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT64 and tensor.raw_data]
    if whole:
        tensor = _some(whole, rng)
        values = np.frombuffer(tensor.raw_data, np.int64).copy()
        values[rng.randrange(values.size)] = rng.choice(INTEGERS)
        tensor.raw_data = values.tobytes()


def change_floats(graph: GraphProto, rng: random.Random) -> None:
    floats = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT and tensor.raw_data]
    if floats:
        tensor = _some(floats, rng)
        values = numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[:] = rng.choice(FLOATS)
        tensor.raw_data = values.tobytes()


def change_signature(graph: GraphProto, rng: random.Random) -> None:
    value = rng.choice([*graph.input, *graph.output])
    kind = value.type.tensor_type
    what = rng.choice(["name", "type", "size", "axes"])
    if what == "name":
        value.name = rng.choice(["", "pixels", "logits", "x" * 1000])
    elif what == "type":
        kind.elem_type = rng.randrange(20)
    elif what == "size" and kind.shape.dim:
        _some(kind.shape.dim, rng).dim_value = rng.choice(INTEGERS)
    else:
        kind.shape.dim.add().dim_value = rng.choice(INTEGERS)


DAMAGES: tuple[Damage, ...] = (
    *(change_attribute, change_operator, rewire, drop_node, repeat_node, change_shape_of_weights),
    *(change_type_of_weights, cut_weights, change_numbers, change_floats, change_signature),
)
