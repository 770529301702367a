"""Takes a written graph up again, without its head, and goes on from its embedding."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper

from vit_export.write.blocks import Recording
from vit_export.write.builder import CONTRIB_DOMAIN, CONTRIB_OPSET, OPSET, Array, GraphBuilder, Initializer
from vit_export.write.classes import classify
from vit_export.write.targets import float_lowering
from vit_export.write.weights import WeightSource
from vit_runtime.artifact import Description
from vit_runtime.errors import ArtifactError

_EMBEDDING = "embedding"
_LOGITS = "logits"


def with_new_head(path: Path, description: Description, weights: WeightSource) -> GraphBuilder:
    """Records the graph of an artifact with another head: what gives its embedding, and its map, stays node by node.

    Args:
        path: the artifact, which has an output `embedding`.
        description: of the artifact with its new head.
        weights: gives the new head's weights.

    Raises:
        ArtifactError: the graph is not as vit-edge writes it.
    """
    model = onnx.load(path, load_external_data=False)
    versions = {"": OPSET, CONTRIB_DOMAIN: CONTRIB_OPSET}
    if any(versions.get(opset.domain) != opset.version for opset in model.opset_import):
        raise ArtifactError(path, "has operators of another version than this vit-edge writes", "export it again")
    kept = [output for output in model.graph.output if output.name != _LOGITS]
    g = _without(model.graph, [output.name for output in kept], path.parent)
    head = Recording(
        g=g,
        arch=description.architecture,
        weights=weights,
        lowering=float_lowering("fp16" if description.precision == "fp16" else "fp32", "portable"),
        rollout=None,
    )
    classify(head, _EMBEDDING)
    g.output(_LOGITS, TensorProto.FLOAT, ("N", description.architecture.classes))
    g.outputs += kept
    return g


def _without(graph: GraphProto, outputs: list[str], folder: Path) -> GraphBuilder:
    """Keeps what some outputs need; nodes lie in the order in which they are computed."""
    needed = set(outputs)
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    weights = [_weight(tensor, folder) for tensor in graph.initializer if tensor.name in needed]
    return GraphBuilder.resumed(nodes[::-1], weights, graph.input)


def _weight(tensor: TensorProto, folder: Path) -> Initializer:
    """The weight as a promise; one that lies in a file beside the graph is read when it is written."""
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    return Initializer(name=tensor.name, dtype=dtype, shape=tuple(tensor.dims), make=partial(_values, tensor, folder))


def _values(tensor: TensorProto, folder: Path) -> Array:
    return np.asarray(numpy_helper.to_array(tensor, str(folder)))
