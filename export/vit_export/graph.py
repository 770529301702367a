"""The Vision Transformer as an ONNX graph, written from its weights.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), section 3.1, equations 1 to 4; names and layer order
of `torchvision.models.vision_transformer`. Dimensions, in comments wherever a shape changes:

    N  pictures in the batch (dynamic)      D  width of a token
    G  patches along one side               H  attention heads
    P  pixels along a patch's side          K  width of a head, D / H
    S  tokens, 1 + G·G                      M  width of the MLP's hidden layer
    C  classes

Only standard operators, and no arithmetic on shapes: so any execution provider can take the whole graph.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from onnx import TensorProto

from vit_export.builder import GraphBuilder
from vit_export.linear import Linear, linear, stored_linear
from vit_export.tensors import Weights
from vit_runtime.artifact import Architecture, Preprocessing
from vit_runtime.model import FloatArray

PIXELS: Final = "pixels"
_COLOURS: Final = 3
_PACKED: Final = ("query", "key", "value")
"""Order of the thirds of PyTorch's packed input projection."""


def build_graph(arch: Architecture, preprocessing: Preprocessing, weights: Weights) -> GraphBuilder:
    """Records the whole model: `pixels` uint8 (N, H, W, 3) to `logits` (N, C) and `embedding` (N, D)."""
    g = GraphBuilder()
    side = arch.image_size
    pixels = g.input(PIXELS, TensorProto.UINT8, ("N", side, side, _COLOURS))
    x = patch_embed(g, pixels, arch, preprocessing, weights)
    for layer in range(arch.layers):
        with g.scope(f"encoder/{layer}"):
            x = block(g, x, f"encoder.layers.encoder_layer_{layer}", arch, weights)
    head(g, x, arch, weights)
    g.output("logits", TensorProto.FLOAT, ("N", arch.classes))
    g.output("embedding", TensorProto.FLOAT, ("N", arch.width))
    return g


def patch_embed(
    g: GraphBuilder, pixels: str, arch: Architecture, preprocessing: Preprocessing, weights: Weights
) -> str:
    """Equation 1: z₀ = [x_class; x¹E; …; xᴺE] + E_pos, from raw pixels (N, G·P, G·P, 3) to (N, S, D)."""
    grid, patch, width = arch.grid, arch.patch_size, arch.width
    values = patch * patch * _COLOURS
    with g.scope("patch_embed"):
        rows = g.constant("shape/patch_rows", (0, grid, patch, grid, patch * _COLOURS))
        x = g.node("Reshape", [pixels, rows], "rows")  # (N, G, P, G, P·3)
        x = g.node("Transpose", [x], "transpose", perm=[0, 1, 3, 2, 4])  # (N, G, G, P, P·3)
        x = g.node("Reshape", [x, g.constant("shape/patches", (0, grid * grid, values))], "patches")
        x = g.node("Cast", [x], "float", to=TensorProto.FLOAT)  # (N, G·G, P·P·3), still 0 to 255
        x = linear(g, x, "projection", _patch_projection((width, values), preprocessing, weights))  # (N, G·G, D)
        # A row of zeros in front makes room for the class token, which is added together with the positions:
        # Concat would need the class token expanded to N, hence arithmetic on shapes.
        x = g.node("Pad", [x, g.constant("shape/class_token_pad", (0, 1, 0, 0, 0, 0))], "pad")  # (N, S, D)

        def positions() -> FloatArray:
            table: FloatArray = weights("encoder.pos_embedding")[0].copy()
            table[0] += weights("class_token")[0, 0]
            return table

        table = g.weight("encoder.pos_embedding", (arch.tokens, width), positions)
        return g.node("Add", [x, table], "tokens")


def _patch_projection(shape: tuple[int, int], preprocessing: Preprocessing, weights: Weights) -> Linear:
    """The patch projection with rescaling and normalisation folded in.

    torchvision computes W·((p / 255 - mean) / std) + b for pixels p; that is W / (255·std)·p + (b - Σ W·mean / std),
    here in double precision before it is rounded to float32 once. W's rows lie in the order row, column, colour.
    """
    mean = np.array(preprocessing.mean, np.float64)[:, None, None]
    std = np.array(preprocessing.std, np.float64)[:, None, None]

    def weight() -> FloatArray:
        kernel = weights("conv_proj.weight") / (255.0 * std)  # (D, 3, P, P)
        return np.asarray(kernel.transpose(0, 2, 3, 1).reshape(shape), np.float32)

    def bias() -> FloatArray:
        shift = (weights("conv_proj.weight") * (mean / std)).sum(axis=(1, 2, 3))
        return np.asarray(weights("conv_proj.bias") - shift, np.float32)

    return Linear(key="conv_proj", shape=shape, weight=weight, bias=bias)


def block(g: GraphBuilder, x: str, key: str, arch: Architecture, weights: Weights) -> str:
    """Equations 2 and 3: z' = MSA(LN(z)) + z, then z'' = MLP(LN(z')) + z'; (N, S, D) to (N, S, D)."""
    y = layer_norm(g, x, "norm1", f"{key}.ln_1", arch, weights)
    with g.scope("attention"):
        y = attention(g, y, f"{key}.self_attention", arch, weights)
    x = g.node("Add", [x, y], "attention_residual")
    y = layer_norm(g, x, "norm2", f"{key}.ln_2", arch, weights)
    with g.scope("mlp"):
        y = mlp(g, y, f"{key}.mlp", arch, weights)
    return g.node("Add", [x, y], "mlp_residual")


def attention(g: GraphBuilder, x: str, key: str, arch: Architecture, weights: Weights) -> str:
    """Softmax(Q Kᵀ / √K) V in H heads (Vaswani et al. 2017, section 3.2); (N, S, D) to (N, S, D)."""
    heads, width = arch.heads, arch.width
    split = g.constant("shape/heads", (0, arch.tokens, heads, width // heads))

    def project(name: Literal["query", "key", "value"], order: list[int]) -> str:
        y = linear(g, x, name, _projection(weights, key, name, arch))  # (N, S, D)
        y = g.node("Reshape", [y, split], f"{name}/heads")  # (N, S, H, K)
        return g.node("Transpose", [y], f"{name}/transpose", perm=order)

    query = project("query", [0, 2, 1, 3])  # (N, H, S, K)
    keys = project("key", [0, 2, 3, 1])  # (N, H, K, S)
    values = project("value", [0, 2, 1, 3])  # (N, H, S, K)
    scores = g.node("MatMul", [query, keys], "scores")  # (N, H, S, S)
    probabilities = g.node("Softmax", [scores], "softmax", axis=-1)
    y = g.node("MatMul", [probabilities, values], "mix")  # (N, H, S, K)
    y = g.node("Transpose", [y], "transpose", perm=[0, 2, 1, 3])  # (N, S, H, K)
    y = g.node("Reshape", [y, g.constant("shape/tokens", (0, arch.tokens, width))], "concat")  # (N, S, D)
    return linear(g, y, "output", stored_linear(weights, f"{key}.out_proj", (width, width)))


def _projection(weights: Weights, key: str, name: Literal["query", "key", "value"], arch: Architecture) -> Linear:
    """One third of PyTorch's packed `in_proj_weight` (3·D, D), with the scale 1 / √K folded into the query.

    For heads of 64 the scale is 1/8, which changes no bit of a mantissa.
    """
    first = _PACKED.index(name) * arch.width
    rows = slice(first, first + arch.width)
    scale = np.float32((arch.width // arch.heads) ** -0.5 if name == "query" else 1)
    return Linear(
        key=f"{key}.in_proj.{name}",
        shape=(arch.width, arch.width),
        weight=lambda: weights(f"{key}.in_proj_weight")[rows] * scale,
        bias=lambda: weights(f"{key}.in_proj_bias")[rows] * scale,
    )


def mlp(g: GraphBuilder, x: str, key: str, arch: Architecture, weights: Weights) -> str:
    """Two layers with the exact (erf) GELU between them; (N, S, D) to (N, S, M) to (N, S, D)."""
    y = linear(g, x, "hidden", stored_linear(weights, f"{key}.0", (arch.mlp_width, arch.width)))
    y = g.node("Gelu", [y], "gelu")
    return linear(g, y, "output", stored_linear(weights, f"{key}.3", (arch.width, arch.mlp_width)))


def head(g: GraphBuilder, x: str, arch: Architecture, weights: Weights) -> None:
    """Equation 4: y = LN(z⁰), the embedding (N, D), and the linear head on it, the logits (N, C)."""
    # LayerNorm works token by token, so only the class token needs it.
    x = g.node("Gather", [x, g.constant("index/class_token", 0)], "head/class_token", axis=1)  # (N, D)
    embedding = layer_norm(g, x, "embedding", "encoder.ln", arch, weights)
    linear(g, embedding, "logits", stored_linear(weights, "heads.head", (arch.classes, arch.width)))


def layer_norm(g: GraphBuilder, x: str, name: str, key: str, arch: Architecture, weights: Weights) -> str:
    """LayerNorm over the last axis (Ba et al. 2016); the shape stays."""
    scale = g.weight(f"{key}.weight", (arch.width,), lambda: weights(f"{key}.weight"))
    bias = g.weight(f"{key}.bias", (arch.width,), lambda: weights(f"{key}.bias"))
    return g.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=arch.layer_norm_eps)
