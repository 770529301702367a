"""How one linear layer is lowered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vit_export.builder import GraphBuilder
from vit_export.tensors import Weights
from vit_runtime.model import FloatArray


@dataclass(frozen=True, kw_only=True)
class Linear:
    """The weights of y = x Wᵀ + b, PyTorch's `Linear`, made when they are written."""

    key: str
    """Prefix of the weights' names in the graph, the checkpoint's own where the layer has one."""
    shape: tuple[int, int]
    """(out, in)."""
    weight: Callable[[], FloatArray]
    """Gives W, (out, in)."""
    bias: Callable[[], FloatArray]
    """Gives b, (out,)."""


def stored_linear(weights: Weights, key: str, shape: tuple[int, int]) -> Linear:
    """A linear layer whose weights are used as the checkpoint holds them."""
    return Linear(
        key=key,
        shape=shape,
        weight=lambda: weights(f"{key}.weight"),
        bias=lambda: weights(f"{key}.bias"),
    )


def linear(g: GraphBuilder, x: str, name: str, layer: Linear) -> str:
    """Records a linear layer under a name below the current scope: (..., in) to (..., out)."""
    outputs, inputs = layer.shape
    # MatMul takes (in, out); a Gemm could transpose by itself, but takes matrices only, not batches.
    weight = g.weight(f"{layer.key}.weight", (inputs, outputs), lambda: layer.weight().T)
    bias = g.weight(f"{layer.key}.bias", (outputs,), layer.bias)
    product = g.node("MatMul", [x, weight], f"{name}/matmul")
    return g.node("Add", [product, bias], name)
