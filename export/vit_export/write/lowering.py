"""Turns the parts of the graph that differ between targets into nodes: float32, and what other precisions share.

The graph in `graph.py` is the same for all targets: it names activations and linear layers, and a `Lowering` decides
which operators compute them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike
from onnx import TensorProto

from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.rotary import Rotation, rotated
from vit_export.write.sizes import Sizes
from vit_runtime.arrays import FloatArray

_QUICK: Final = 1.702
"""Factor in x·sigmoid(1.702 x), the quick form of GELU."""
Kind = Literal["pixels", "normalised", "mixed", "gelu", "gated", "head"]
"""What feeds a linear layer: raw pixels, a LayerNorm, attention's mix of values, GELU, or a gated MLP's product. What
lies behind the blocks, where a layer computes few rows or makes the answer, is `head`, and stays in float."""


@dataclass(frozen=True, kw_only=True)
class Activation:
    """The input of one or several linear layers."""

    value: str
    """Name of the tensor: (N, rows, width), or (N, width) for the head. Pixels are of the type that the lowering gave
    them, all else is float32."""
    site: str
    """Path that stays the same whatever the lowering: `encoder/3/attention/input`."""
    kind: Kind
    rows: int
    width: int
    alone: bool = False
    """Whether the activation holds only the tokens that the answer is read from, as in the last block."""

    def step(self, g: GraphBuilder, name: str) -> str:
        """Gives a name, below the current scope, for a node that takes part in quantizing this activation."""
        token = "/class_token" if self.alone else ""
        return f"{self.site.removeprefix(g.path(''))}{token}/{name}"


@dataclass(frozen=True, kw_only=True)
class Attended:
    """Attention's two results."""

    mixed: str
    """The mix of values (N, queries, D)."""
    probabilities: str | None
    """The attention probabilities, float32 (N, H, queries, S); None where they were not asked for."""


class Lowering(Protocol):
    """One way to compute a Vision Transformer's parts."""

    def pixels(self, g: GraphBuilder, pixels: str) -> str:
        """Records uint8 pixels in the type that the first layer reads, under a name below the current scope."""

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Records y = x Wᵀ + b under a name below the current scope: (N, rows, in) to (N, rows, out)."""

    def attention(
        self, g: GraphBuilder, qkv: tuple[str, str, str], arch: Sizes, *, queries: int, probabilities: bool
    ) -> Attended:
        """Records softmax(Q Kᵀ) V, where Q is already scaled: (N, queries, D) and twice (N, S, D) to (N, queries, D).

        With `probabilities` the softmax itself is a result as well.
        """

    def rotated(self, g: GraphBuilder, x: str, rotation: Rotation, arch: Sizes, name: str) -> str:
        """Records rotated queries or keys under a name below the current scope: (N, S, D) to (N, S, D)."""

    def activation(self, g: GraphBuilder, x: str, arch: Sizes) -> str:
        """Records the MLP's function under the name `gelu`."""


class Float32:
    """Standard operators in single precision: any execution provider can take the whole graph."""

    def pixels(self, g: GraphBuilder, pixels: str) -> str:
        """Records a cast right behind the input: WebGPU and TensorRT do nothing else with uint8."""
        return g.node("Cast", [pixels], "float", to=TensorProto.FLOAT)

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Records MatMul and Add: a Gemm could transpose the weights by itself, but takes matrices, not batches."""
        outputs, inputs = layer.shape
        weight = g.weight(f"{layer.key}.weight", (inputs, outputs), lambda: layer.weight().T)
        bias = g.weight(f"{layer.key}.bias", (outputs,), layer.bias)
        product = g.node("MatMul", [x.value, weight], f"{name}/matmul")
        return g.node("Add", [product, bias], name)

    def attention(
        self,
        g: GraphBuilder,
        qkv: tuple[str, str, str],
        arch: Sizes,
        *,
        queries: int,
        probabilities: bool,  # noqa: ARG002 - standard operators give them anyhow
    ) -> Attended:
        """Records MatMul, Softmax and MatMul on transposed heads."""
        return attention_of_matmuls(g, qkv, arch, queries=queries)

    def rotated(self, g: GraphBuilder, x: str, rotation: Rotation, arch: Sizes, name: str) -> str:
        """Records rotated queries or keys in float32."""
        return rotated(g, x, rotation, arch, name)

    def activation(self, g: GraphBuilder, x: str, arch: Sizes) -> str:
        """Records the function that the model was trained with."""
        return activation(g, x, arch)


@dataclass(frozen=True, kw_only=True)
class PlacedLinear:
    """A linear layer in its place in the graph."""

    path: str
    """The layer's name for people, and in the graph: `encoder/3/attention/query`."""
    input: Activation
    layer: Linear


class FusedFloat32(Float32):
    """Float32 for onnxruntime on CUDA."""

    def attention(
        self, g: GraphBuilder, qkv: tuple[str, str, str], arch: Sizes, *, queries: int, probabilities: bool
    ) -> Attended:
        """Records the fused operator, or standard ones if probabilities are asked for: fused ones do not give them."""
        return fused_attention(g, qkv, arch, queries=queries, probabilities=probabilities)


class LayerRecorder(Float32):
    """Writes the graph in float32, and remembers every linear layer in the order of the graph."""

    def __init__(self) -> None:
        self.layers: list[PlacedLinear] = []

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Records a linear layer in float32, and remembers it."""
        self.layers.append(PlacedLinear(path=g.path(name), input=x, layer=layer))
        return super().linear(g, x, name, layer)


def attention_of_matmuls(
    g: GraphBuilder, qkv: tuple[str, str, str], arch: Sizes, *, queries: int, half: bool = False
) -> Attended:
    """Records attention in standard operators: (N, queries, D) and twice (N, S, D) to (N, queries, D).

    With `half` everything but the softmax is fp16.
    """
    head = arch.width // arch.heads

    def split(x: str, name: str, rows: int, order: list[int]) -> str:
        shape = g.constant(f"shape/heads_of_{rows}", (0, rows, arch.heads, head))
        y = g.node("Reshape", [x, shape], f"{name}/heads")  # (N, rows, H, K)
        return g.node("Transpose", [y], f"{name}/transpose", perm=order)

    query = split(qkv[0], "query", queries, [0, 2, 1, 3])  # (N, H, queries, K)
    keys = split(qkv[1], "key", arch.tokens, [0, 2, 3, 1])  # (N, H, K, S)
    values = split(qkv[2], "value", arch.tokens, [0, 2, 1, 3])  # (N, H, S, K)
    scores = g.node("MatMul", [query, keys], "scores")  # (N, H, queries, S)
    if half:
        scores = g.node("Cast", [scores], "scores/float", to=TensorProto.FLOAT)
    if arch.causal:
        scores = g.node("Add", [scores, _causal_mask(g, arch, np.float32)], "scores/masked")
    probabilities = g.node("Softmax", [scores], "softmax", axis=-1)
    weights = g.node("Cast", [probabilities], "softmax/half", to=TensorProto.FLOAT16) if half else probabilities
    y = g.node("MatMul", [weights, values], "mix")  # (N, H, queries, K)
    y = g.node("Transpose", [y], "transpose", perm=[0, 2, 1, 3])  # (N, queries, H, K)
    mixed = g.node("Reshape", [y, g.constant(f"shape/tokens_of_{queries}", (0, queries, arch.width))], "concat")
    return Attended(mixed=mixed, probabilities=probabilities)


def fused_attention(
    g: GraphBuilder,
    qkv: tuple[str, str, str],
    arch: Sizes,
    *,
    queries: int,
    probabilities: bool,
    half: bool = False,
) -> Attended:
    """Records attention in onnxruntime's fused operator; in standard ones where probabilities are asked for."""
    if probabilities:
        return attention_of_matmuls(g, qkv, arch, queries=queries, half=half)
    inputs = list(qkv)
    if arch.causal:
        bias, padding = "", ""
        inputs += [bias, padding, _causal_mask(g, arch, np.float16 if half else np.float32)]
    mixed = g.contrib_node("MultiHeadAttention", inputs, "mix", num_heads=arch.heads, scale=1.0)
    return Attended(mixed=mixed, probabilities=None)


def _causal_mask(g: GraphBuilder, arch: Sizes, dtype: DTypeLike) -> str:
    """What is added to scores (1, 1, S, S): the least number for each pair whose key comes behind the query."""
    shape = (1, 1, arch.tokens, arch.tokens)

    def mask() -> FloatArray:
        hidden = np.triu(np.ones(shape, bool), k=1)
        return np.where(hidden, np.finfo(np.dtype(dtype)).min, 0).astype(dtype)

    return g.shared_weight("attention/causal_mask", shape, mask, dtype)


def activation(g: GraphBuilder, x: str, arch: Sizes, dtype: DTypeLike = np.float32) -> str:
    """Records the MLP's function, in `dtype`, under the name `gelu`; `Architecture.activation` says which."""
    if arch.activation in ("erf", "tanh"):
        return g.node("Gelu", [x], "gelu", **({"approximate": "tanh"} if arch.activation == "tanh" else {}))
    inner = x
    if arch.activation == "quick":
        scale = g.constant(f"scale/quick/{np.dtype(dtype).name}", _QUICK, dtype)
        inner = g.node("Mul", [x, scale], "gelu/scaled")
    return g.node("Mul", [x, g.node("Sigmoid", [inner], "gelu/sigmoid")], "gelu")
