"""Encoder blocks and what they are made of, recorded into a graph (equations 2 and 3; `graph` lists the dimensions)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar

import numpy as np

from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Kind, Lowering
from vit_export.write.rollout import RolloutRecorder
from vit_export.write.rotary import Rotation
from vit_export.write.sizes import Sizes
from vit_export.write.weights import WeightSource

_PACKED: Final = ("query", "key", "value")
"""Order of the thirds of PyTorch's packed input projection."""


_Shape_co = TypeVar("_Shape_co", bound=Sizes, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Recording(Generic[_Shape_co]):
    """A graph while it is recorded: what every part of it needs."""

    g: GraphBuilder
    arch: _Shape_co
    weights: WeightSource
    lowering: Lowering
    rollout: RolloutRecorder | None


def block(model: Recording[Sizes], x: str, key: str, *, rows: int) -> str:
    """Equations 2 and 3: z' = MSA(LN(z)) + z, then z'' = MLP(LN(z')) + z'.

    (N, S, D) to (N, rows, D). The last block computes only the first rows, from which the answer is read.
    """
    g = model.g
    y = layer_norm(model, x, "norm1", f"{key}.ln_1")
    with g.scope("attention"):
        y = attention(model, y, f"{key}.self_attention", queries=rows)
    if rows < model.arch.tokens:
        x = first_tokens(g, x, rows)  # (N, rows, D)
    x = g.node("Add", [x, y], "attention_residual")
    y = layer_norm(model, x, "norm2", f"{key}.ln_2")
    with g.scope("mlp"):
        y = mlp(model, y, f"{key}.mlp", rows=rows)
    return g.node("Add", [x, y], "mlp_residual")


def attention(model: Recording[Sizes], x: str, key: str, *, queries: int) -> str:
    """Softmax(Q Kᵀ / √K) V in H heads (Vaswani et al. 2017, section 3.2).

    (N, S, D) to (N, queries, D): only the first `queries` tokens ask.
    """
    g, arch, linear = model.g, model.arch, model.lowering.linear
    tokens = Activation(value=x, site=g.path("input"), kind="normalised", rows=arch.tokens, width=arch.width)
    alone = queries < arch.tokens
    asking = tokens
    if alone:
        asking = replace(tokens, value=first_tokens(g, x, queries), rows=queries, alone=True)
    query = linear(g, asking, "query", projection(model, key, "query"))
    keys = linear(g, tokens, "key", projection(model, key, "key"))
    values = linear(g, tokens, "value", projection(model, key, "value"))
    if arch.rotary != "none":
        rotation = _rotation(model, key)
        keys = model.lowering.rotated(g, keys, rotation, arch, "key")
        if queries > arch.prefix:  # the tokens in front of the patches are not rotated
            query = model.lowering.rotated(g, query, rotation, arch, "query")
    watching = model.rollout
    y = model.lowering.attention(g, (query, keys, values), arch, queries=queries, probabilities=watching is not None)
    if watching is not None and y.probabilities is not None:
        watching.watch(g, y.probabilities)
    mixed = Activation(value=y.mixed, site=g.path("mixed"), kind="mixed", rows=queries, width=arch.width, alone=alone)
    return linear(g, mixed, "output", Linear.stored(model.weights, f"{key}.out_proj", (arch.width, arch.width)))


def _rotation(model: Recording[Sizes], key: str) -> Rotation:
    """The angles of a block with this prefix of its attention's weights."""
    shared = model.arch.rotary == "shared"
    return Rotation(key="encoder.rotary" if shared else f"{key}.rotary", weights=model.weights)


def projection(model: Recording[Sizes], key: str, name: Literal["query", "key", "value"]) -> Linear:
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


def mlp(model: Recording[Sizes], x: str, key: str, *, rows: int) -> str:
    """Two layers with GELU between them, or a gated layer and another; (N, rows, D) to (N, rows, M) to (N, rows, D)."""
    g, arch, weights, linear = model.g, model.arch, model.weights, model.lowering.linear
    alone = rows < arch.tokens
    tokens = Activation(value=x, site=g.path("input"), kind="normalised", rows=rows, width=arch.width, alone=alone)
    shape = (arch.mlp_width, arch.width)
    hidden = linear(g, tokens, "hidden", Linear.stored(weights, f"{key}.0", shape))
    kind: Kind = "gelu"
    if arch.gated_mlp:
        kind = "gated"
        gate = linear(g, tokens, "gate", Linear.stored(weights, f"{key}.gate", shape))
        y = g.node("Mul", [model.lowering.activation(g, gate, arch), hidden], "gated")
    else:
        y = model.lowering.activation(g, hidden, arch)
    inner = Activation(value=y, site=g.path(kind), kind=kind, rows=rows, width=arch.mlp_width, alone=alone)
    return linear(g, inner, "output", Linear.stored(weights, f"{key}.3", (arch.width, arch.mlp_width)))


def layer_norm(model: Recording[Sizes], x: str, name: str, key: str) -> str:
    """LayerNorm over the last axis (Ba et al. 2016); the shape stays."""
    g, arch, weights = model.g, model.arch, model.weights
    scale = g.weight(f"{key}.weight", (arch.width,), lambda: weights(f"{key}.weight"))
    bias = g.weight(f"{key}.bias", (arch.width,), lambda: weights(f"{key}.bias"))
    return g.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=arch.layer_norm_eps)


def first_tokens(g: GraphBuilder, x: str, count: int) -> str:
    """The tokens that the answer is read from: (N, S, D) to (N, count, D)."""
    return g.node("Gather", [x, g.constant("index/class_token", list(range(count)))], "class_token", axis=1)
