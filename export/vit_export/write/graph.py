"""The Vision Transformer as an ONNX graph, written from its weights.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), section 3.1, equations 1 to 4; names and layer order
of `torchvision.models.vision_transformer`. Dimensions, in comments wherever a shape changes:

    N  pictures in the batch (dynamic)      D  width of a token
    G  patches along one side               H  attention heads
    P  pixels along a patch's side          K  width of a head, D / H
    S  tokens, those of the prefix and G·G  M  width of the MLP's hidden layer
    C  classes

What differs between targets and precisions is left to a `Lowering`. No node computes shapes, so that an accelerator
can take the whole graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from onnx import TensorProto

from vit_export.names import block_name
from vit_export.write.blueprint import Blueprint
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Float32, Lowering
from vit_export.write.rollout import RolloutRecorder
from vit_export.write.weights import WeightSource
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Architecture, Preprocessing

PIXELS: Final = "pixels"
PATCH_PROJECTION: Final = "patch_embed/projection"
"""Path of the linear layer that reads pixels."""
HEAD: Final = "head/input"
"""Path of the place where the head reads the embedding."""
_COLOURS: Final = 3
_PACKED: Final = ("query", "key", "value")
"""Order of the thirds of PyTorch's packed input projection."""


def build_graph(blueprint: Blueprint, lowering: Lowering | None = None) -> GraphBuilder:
    """Records the whole model: `pixels` uint8 (N, H, W, 3) to `logits` (N, C), `embedding` (N, D), `rollout` (N, G, G).

    `logits` is an output only where there is a head, `rollout` only where it is asked for.
    """
    g, arch = GraphBuilder(), blueprint.arch
    watching = None if blueprint.rollout is None else RolloutRecorder(arch, blueprint.rollout)
    model = _Recording(g=g, arch=arch, weights=blueprint.weights, lowering=lowering or Float32(), rollout=watching)
    side = arch.image_size
    pixels = g.input(PIXELS, TensorProto.UINT8, ("N", side, side, _COLOURS))
    x = patch_embed(model, pixels, blueprint.preprocessing)
    for layer in range(arch.layers):
        with g.scope(f"encoder/{layer}"):
            # The last block computes only the tokens that the answer is read from.
            rows = _answer_rows(arch) if layer == arch.layers - 1 else arch.tokens
            x = block(model, x, block_name(layer), rows=rows)
    head(model, x)
    if arch.classes:
        g.output("logits", TensorProto.FLOAT, ("N", arch.classes))
    g.output("embedding", TensorProto.FLOAT, ("N", arch.width))
    if watching is not None:
        watching.output(g)
    return g


def _answer_rows(arch: Architecture) -> int:
    """Counts the tokens that the answer is read from, starting at the first."""
    rows = {"class_token": 1, "class_and_distillation_token": 2}
    return rows.get(arch.pooling, arch.tokens)


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """A graph while it is recorded: what every part of it needs."""

    g: GraphBuilder
    arch: Architecture
    weights: WeightSource
    lowering: Lowering
    rollout: RolloutRecorder | None


def patch_embed(model: _Recording, pixels: str, preprocessing: Preprocessing) -> str:
    """Equation 1: z₀ = [x_class; x¹E; …; xᴺE] + E_pos, from raw pixels (N, G·P, G·P, 3) to (N, S, D)."""
    g, arch, weights = model.g, model.arch, model.weights
    grid, patch, width = arch.grid, arch.patch_size, arch.width
    values = patch * patch * _COLOURS
    with g.scope("patch_embed"):
        rows = g.constant("shape/patch_rows", (0, grid, patch, grid, patch * _COLOURS))
        x = model.lowering.pixels(g, pixels)  # (N, G·P, G·P, 3)
        x = g.node("Reshape", [x, rows], "rows")  # (N, G, P, G, P·3)
        x = g.node("Transpose", [x], "transpose", perm=[0, 1, 3, 2, 4])  # (N, G, G, P, P·3)
        x = g.node("Reshape", [x, g.constant("shape/patches", (0, grid * grid, values))], "patches")
        patches = Activation(  # (N, G·G, P·P·3), 0 to 255
            value=x, site="patch_embed/input", kind="pixels", rows=grid * grid, width=values
        )
        projection = patch_projection((width, values), preprocessing, weights)
        x = model.lowering.linear(g, patches, "projection", projection)  # (N, G·G, D)
        if arch.prefix:
            # Rows of zeros in front make room for the class token and others, which are added together with the
            # positions: Concat would need them expanded to N, hence arithmetic on shapes.
            pad = g.constant("shape/class_token_pad", (0, arch.prefix, 0, 0, 0, 0))
            x = g.node("Pad", [x, pad], "pad")  # (N, S, D)

        def positions() -> FloatArray:
            table: FloatArray = weights("encoder.pos_embedding")[0].copy()
            names = [name for name, count in _prefix_tokens(arch).items() if count]
            if names:
                table[: arch.prefix] += np.concatenate([weights(name)[0] for name in names])
            return table

        table = g.weight("encoder.pos_embedding", (arch.tokens, width), positions)
        return g.node("Add", [x, table], "tokens")


def _prefix_tokens(arch: Architecture) -> dict[str, int]:
    """Lists the weights (1, count, D) of tokens in front of the patches, in order, each with its count."""
    return {
        "class_token": int(arch.class_token),
        "distillation_token": int(arch.distillation_token),
        "register_tokens": arch.registers,
    }


def patch_projection(shape: tuple[int, int], preprocessing: Preprocessing, weights: WeightSource) -> Linear:
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


def block(model: _Recording, x: str, key: str, *, rows: int) -> str:
    """Equations 2 and 3: z' = MSA(LN(z)) + z, then z'' = MLP(LN(z')) + z'.

    (N, S, D) to (N, rows, D). The last block computes only the first rows, from which the answer is read.
    """
    g = model.g
    y = layer_norm(model, x, "norm1", f"{key}.ln_1")
    with g.scope("attention"):
        y = attention(model, y, f"{key}.self_attention", queries=rows)
    if rows < model.arch.tokens:
        x = _first_tokens(g, x, rows)  # (N, rows, D)
    x = g.node("Add", [x, y], "attention_residual")
    y = layer_norm(model, x, "norm2", f"{key}.ln_2")
    with g.scope("mlp"):
        y = mlp(model, y, f"{key}.mlp", rows=rows)
    return g.node("Add", [x, y], "mlp_residual")


def attention(model: _Recording, x: str, key: str, *, queries: int) -> str:
    """Softmax(Q Kᵀ / √K) V in H heads (Vaswani et al. 2017, section 3.2).

    (N, S, D) to (N, queries, D): only the first `queries` tokens ask.
    """
    g, arch, linear = model.g, model.arch, model.lowering.linear
    tokens = Activation(value=x, site=g.path("input"), kind="normalised", rows=arch.tokens, width=arch.width)
    alone = queries < arch.tokens
    asking = tokens
    if alone:
        asking = replace(tokens, value=_first_tokens(g, x, queries), rows=queries, alone=True)
    query = linear(g, asking, "query", _projection(model, key, "query"))
    keys = linear(g, tokens, "key", _projection(model, key, "key"))
    values = linear(g, tokens, "value", _projection(model, key, "value"))
    watching = model.rollout
    y = model.lowering.attention(g, (query, keys, values), arch, queries=queries, probabilities=watching is not None)
    if watching is not None and y.probabilities is not None:
        watching.watch(g, y.probabilities)
    mixed = Activation(value=y.mixed, site=g.path("mixed"), kind="mixed", rows=queries, width=arch.width, alone=alone)
    return linear(g, mixed, "output", Linear.stored(model.weights, f"{key}.out_proj", (arch.width, arch.width)))


def _projection(model: _Recording, key: str, name: Literal["query", "key", "value"]) -> Linear:
    """One third of PyTorch's packed `in_proj_weight` (3·D, D), with the scale 1 / √K folded into the query.

    For heads of 64 the scale is 1/8, which changes no bit of a mantissa.
    """
    arch, weights = model.arch, model.weights
    first = _PACKED.index(name) * arch.width
    rows = slice(first, first + arch.width)
    scale = np.float32((arch.width // arch.heads) ** -0.5 if name == "query" else 1)
    return Linear(
        key=f"{key}.in_proj.{name}",
        shape=(arch.width, arch.width),
        weight=lambda: weights(f"{key}.in_proj_weight")[rows] * scale,
        bias=lambda: weights(f"{key}.in_proj_bias")[rows] * scale,
    )


def mlp(model: _Recording, x: str, key: str, *, rows: int) -> str:
    """Two layers with GELU between them; (N, rows, D) to (N, rows, M) to (N, rows, D)."""
    g, arch, weights, linear = model.g, model.arch, model.weights, model.lowering.linear
    alone = rows < arch.tokens
    tokens = Activation(value=x, site=g.path("input"), kind="normalised", rows=rows, width=arch.width, alone=alone)
    y = linear(g, tokens, "hidden", Linear.stored(weights, f"{key}.0", (arch.mlp_width, arch.width)))
    y = model.lowering.gelu(g, y, arch)
    hidden = Activation(value=y, site=g.path("gelu"), kind="gelu", rows=rows, width=arch.mlp_width, alone=alone)
    return linear(g, hidden, "output", Linear.stored(weights, f"{key}.3", (arch.width, arch.mlp_width)))


def head(model: _Recording, x: str) -> None:
    """Equation 4: the embedding y = LN(z⁰), (N, D), and the logits (N, C) where there is a linear head.

    In some variants the head's input comes from other tokens; `Pooling` lists them.
    """
    g, arch = model.g, model.arch
    features = _pooled(model, x)
    if arch.classes:
        token = Activation(value=features, site=HEAD, kind="head", rows=1, width=arch.head_width)
        layer = Linear.stored(model.weights, "heads.head", (arch.classes, arch.head_width))
        model.lowering.linear(g, token, "logits", layer)


def _pooled(model: _Recording, x: str) -> str:
    """Records `embedding` (N, D) from the last block's tokens (N, rows, D), and returns what the head reads."""
    g, arch = model.g, model.arch
    if arch.pooling == "class_token":
        x = g.node("Reshape", [x, g.constant("shape/embedding", (0, arch.width))], "head/class_token")  # (N, D)
        return layer_norm(model, x, "embedding", "encoder.ln")
    if arch.norm_after_pooling:
        return layer_norm(model, _patch_mean(model, x, "head/patch_mean"), "embedding", "encoder.ln")
    x = layer_norm(model, x, "head/normalised", "encoder.ln")  # (N, rows, D)
    if arch.pooling == "patch_mean":
        return _patch_mean(model, x, "embedding")
    first = g.constant("index/first", 0)
    embedding = g.node("Gather", [x, first], "embedding", axis=1)  # (N, D)
    if arch.pooling == "class_and_distillation_token":
        return g.node("Reshape", [x, g.constant("shape/head", (0, arch.head_width))], "head/tokens")  # (N, 2·D)
    return g.node("Concat", [embedding, _patch_mean(model, x, "head/patch_mean")], "head/features", axis=1)


def _patch_mean(model: _Recording, x: str, name: str) -> str:
    """The mean of the tokens that stand for patches: (N, S, D) to (N, D)."""
    g, arch = model.g, model.arch
    axis = g.constant("axis/tokens", [1])
    if arch.prefix:
        bounds = [g.constant("index/first_patch", [arch.prefix]), g.constant("index/end", [arch.tokens])]
        x = g.node("Slice", [x, *bounds, axis], "head/patches")
    return g.node("ReduceMean", [x, axis], name, keepdims=0)


def layer_norm(model: _Recording, x: str, name: str, key: str) -> str:
    """LayerNorm over the last axis (Ba et al. 2016); the shape stays."""
    g, arch, weights = model.g, model.arch, model.weights
    scale = g.weight(f"{key}.weight", (arch.width,), lambda: weights(f"{key}.weight"))
    bias = g.weight(f"{key}.bias", (arch.width,), lambda: weights(f"{key}.bias"))
    return g.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=arch.layer_norm_eps)


def _first_tokens(g: GraphBuilder, x: str, count: int) -> str:
    """The tokens that the answer is read from: (N, S, D) to (N, count, D)."""
    return g.node("Gather", [x, g.constant("index/class_token", list(range(count)))], "class_token", axis=1)
