"""The text tower of CLIP or SigLIP as an ONNX graph, written from its weights.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), section 2.4; Zhai et
al., "Sigmoid Loss for Language Image Pre-Training" (2023). Layer order is that of transformers' `modeling_clip.py` and
`modeling_siglip.py`. The blocks are a Vision Transformer's (`blocks`); `graph` lists the dimensions, and one is new:

    V  tokens of the vocabulary

The number of tokens of a text is fixed: padding costs a little time, and no node computes shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from onnx import TensorProto

from vit_export.names import block_name
from vit_export.write.blocks import Recording, block, layer_norm
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Float32, Lowering
from vit_export.write.weights import WeightSource
from vit_runtime.artifact import TextArchitecture
from vit_runtime.artifact.tokenizer import TOKENIZER
from vit_runtime.texts.graph import EMBEDDING, TOKENS

TABLE: Final = "token_embedding"
"""Name of the table that holds a row for each token."""


@dataclass(frozen=True, kw_only=True)
class TextBlueprint:
    """A text tower with its weights and its tokenizer."""

    arch: TextArchitecture
    weights: WeightSource
    tokenizer: bytes
    """`tokenizer.json`, compressed; no node reads it."""


LookUp = Callable[[GraphBuilder, str, TextBlueprint], str]
"""Records the rows of the table that stand for tokens: int64 (N, S) to float32 (N, S, D), below the current scope."""


def float_rows(g: GraphBuilder, tokens: str, blueprint: TextBlueprint) -> str:
    """Records rows of a table in float32."""
    arch = blueprint.arch
    table = g.weight(TABLE, (arch.vocabulary, arch.width), lambda: blueprint.weights(TABLE))
    return g.node("Gather", [table, tokens], "rows", axis=0)


def half_rows(g: GraphBuilder, tokens: str, blueprint: TextBlueprint) -> str:
    """Records rows of a table in fp16; the residual stream, which they begin, is float32."""
    arch = blueprint.arch
    shape = (arch.vocabulary, arch.width)
    table = g.weight(TABLE, shape, lambda: blueprint.weights(TABLE).astype(np.float16), np.float16)
    rows = g.node("Gather", [table, tokens], "rows/half", axis=0)
    return g.node("Cast", [rows], "rows", to=TensorProto.FLOAT)


def build_text_graph(
    blueprint: TextBlueprint, lowering: Lowering | None = None, look_up: LookUp = float_rows
) -> GraphBuilder:
    """Records the whole tower: `tokens` int64 (N, S) to `embedding` float32 (N, E)."""
    g, arch = GraphBuilder(), blueprint.arch
    model = Recording(g=g, arch=arch, weights=blueprint.weights, lowering=lowering or Float32(), rollout=None)
    packed = np.frombuffer(blueprint.tokenizer, np.uint8)
    g.weight(TOKENIZER, packed.shape, lambda: packed, np.uint8, inline=True)
    tokens = g.input(TOKENS, TensorProto.INT64, ("N", arch.tokens))
    with g.scope("embed"):
        x = look_up(g, tokens, blueprint)  # (N, S, D)
        positions = "encoder.pos_embedding"
        table = g.weight(positions, (1, arch.tokens, arch.width), lambda: blueprint.weights(positions))
        x = g.node("Add", [x, table], "tokens")
    for layer in range(arch.layers):
        with g.scope(f"encoder/{layer}"):
            x = block(model, x, block_name(layer), rows=arch.tokens)
    # LayerNorm looks at each token by itself, so it may as well come behind the choice of one.
    x = layer_norm(model, _answer(model, x, tokens), "head/normalised", "encoder.ln")  # (N, D)
    token = Activation(value=x, site="head/input", kind="head", rows=1, width=arch.width)
    layer_of_head = Linear.stored(model.weights, "projection", (arch.projection, arch.width))
    model.lowering.linear(g, token, EMBEDDING, layer_of_head)
    g.output(EMBEDDING, TensorProto.FLOAT, ("N", arch.projection))
    return g


def _answer(model: Recording[TextArchitecture], x: str, tokens: str) -> str:
    """The token that the answer is read from, as `TextPooling` says: (N, S, D) to (N, D)."""
    g, arch = model.g, model.arch
    with g.scope("head"):
        if arch.pooling == "last_token":
            return g.node("Gather", [x, g.constant("index/last", arch.tokens - 1)], "token", axis=1)
        seen = tokens
        if arch.end_token is not None:
            seen = g.node("Equal", [tokens, g.constant("end_token", arch.end_token)], "is_end")
        # float32 holds every number of a token exactly, and more providers find the largest one of float32.
        seen = g.node("Cast", [seen], "seen", to=TensorProto.FLOAT)
        place = g.node("ArgMax", [seen], "place", axis=1, keepdims=1)  # (N, 1), the first of the largest
        return g.node("GatherND", [x, place], "token", batch_dims=1)
