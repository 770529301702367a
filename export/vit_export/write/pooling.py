"""Behind the blocks: what becomes the embedding and the head's input (equation 4; `graph` lists the dimensions)."""

from __future__ import annotations

import numpy as np

from vit_export.write.blocks import Recording, layer_norm, projection
from vit_export.write.classes import classify
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, activation, attention_of_matmuls
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Architecture


def answer_rows(arch: Architecture) -> int:
    """Counts the tokens that the answer is read from, starting at the first."""
    rows = {"class_token": 1, "class_and_distillation_token": 2}
    return rows.get(arch.pooling, arch.tokens)


def head(model: Recording[Architecture], x: str) -> None:
    """Equation 4: the embedding y = LN(z⁰), (N, E), and the logits (N, C) where there is a linear head.

    In some variants the head's input comes from other tokens; `Pooling` lists them.
    """
    g, arch = model.g, model.arch
    features = pooled(model, x, "head/pooled" if arch.projection else "embedding")
    if arch.projection:
        token = Activation(value=features, site="head/pooled", kind="head", rows=1, width=arch.width)
        layer = Linear.stored(model.weights, "projection", (arch.projection, arch.width))
        features = model.lowering.linear(g, token, "embedding", layer)
    if arch.classes:
        classify(model, features)


def pooled(model: Recording[Architecture], x: str, name: str) -> str:
    """Records the pooled tokens (N, D) under `name`, from the last block's (N, rows, D); gives what the head reads."""
    g, arch = model.g, model.arch
    if arch.pooling == "class_token":
        x = g.node("Reshape", [x, g.constant("shape/embedding", (0, arch.width))], "head/class_token")  # (N, D)
        return layer_norm(model, x, name, "encoder.ln")
    if arch.norm_after_pooling:
        return layer_norm(model, _patch_mean(model, x, "head/patch_mean"), name, "encoder.ln")
    x = layer_norm(model, x, "head/normalised", "encoder.ln")  # (N, rows, D)
    if arch.pooling == "attention":
        return _attention_pooling(model, x, name)
    if arch.pooling == "patch_mean":
        return _patch_mean(model, x, name)
    first = g.constant("index/first", 0)
    embedding = g.node("Gather", [x, first], name, axis=1)  # (N, D)
    if arch.pooling == "class_and_distillation_token":
        return g.node("Reshape", [x, g.constant("shape/head", (0, arch.head_width))], "head/tokens")  # (N, 2·D)
    return g.node("Concat", [embedding, _patch_mean(model, x, "head/patch_mean")], "head/features", axis=1)


def _patch_mean(model: Recording[Architecture], x: str, name: str) -> str:
    """The mean of the tokens that stand for patches: (N, S, D) to (N, D)."""
    g, arch = model.g, model.arch
    axis = g.constant("axis/tokens", [1])
    if arch.prefix:
        bounds = [g.constant("index/first_patch", [arch.prefix]), g.constant("index/end", [arch.tokens])]
        x = g.node("Slice", [x, *bounds, axis], "head/patches")
    return g.node("ReduceMean", [x, axis], name, keepdims=0)


def _attention_pooling(model: Recording[Architecture], x: str, name: str) -> str:
    """What a learned probe gathers from all tokens: (N, S, D) to (N, D).

    The probe attends in H heads, as a token would, and an MLP with a LayerNorm in front follows. Few rows are computed
    here, but for keys and values, so all of it stays in float32.
    """
    g, arch, weights, linear = model.g, model.arch, model.weights, model.lowering.linear
    key, square = "pool.self_attention", (arch.width, arch.width)
    with g.scope("pool"):
        tokens = Activation(value=x, site="pool/input", kind="head", rows=arch.tokens, width=arch.width)
        keys = linear(g, tokens, "key", projection(model, key, "key"))
        values = linear(g, tokens, "value", projection(model, key, "value"))
        query = g.weight("pool.query", (1, 1, arch.width), lambda: _probe_query(model, key))
        attended = attention_of_matmuls(g, (query, keys, values), arch, queries=1)
        if model.rollout is not None and attended.probabilities is not None:
            model.rollout.watch_pooling(g, attended.probabilities)
        token = g.node("Reshape", [attended.mixed, g.constant("shape/embedding", (0, arch.width))], "mixed")  # (N, D)

        def one_row(value: str, site: str, width: int) -> Activation:
            return Activation(value=value, site=f"pool/{site}", kind="head", rows=1, width=width)

        x = linear(g, one_row(token, "mixed", arch.width), "output", Linear.stored(weights, f"{key}.out_proj", square))
        y = layer_norm(model, x, "norm", "pool.ln")
        shape = (arch.mlp_width, arch.width)
        y = linear(g, one_row(y, "mlp/input", arch.width), "mlp/hidden", Linear.stored(weights, "pool.mlp.0", shape))
        y = activation(g, y, arch)
        y = linear(
            g, one_row(y, "gelu", arch.mlp_width), "mlp/output", Linear.stored(weights, "pool.mlp.3", shape[::-1])
        )
    return g.node("Add", [x, y], name)


def _probe_query(model: Recording[Architecture], key: str) -> FloatArray:
    """The probe's query (1, 1, D), which is the same for every picture."""
    layer = projection(model, key, "query")
    probe = model.weights("pool.probe")[0].astype(np.float64)
    return np.asarray((probe @ layer.weight().T.astype(np.float64) + layer.bias())[None], np.float32)
