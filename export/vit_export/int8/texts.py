"""Writes a text tower in int8: linear layers as a picture model's without calibration, the table of tokens by row.

Nothing is equalised: pictures of noise find a Vision Transformer's large channels, and words have no such counterpart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from onnx import TensorProto

from vit_export.int8.cpu import CpuInt8
from vit_export.int8.recipe import ACTIVATIONS
from vit_export.int8.rounding import QuantizedWeight, round_to_nearest
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.text_graph import TABLE, TextBlueprint, build_text_graph
from vit_runtime.artifact import Quantization


def dynamic_text_graph(blueprint: TextBlueprint) -> tuple[GraphBuilder, Quantization]:
    """Records the graph, and gives what the artifact says about its quantization."""
    float32_bytes = sum(weight.nbytes for weight in build_text_graph(blueprint).weights)

    def rounded(_path: str, layer: Linear) -> QuantizedWeight:
        return round_to_nearest(layer.weight())

    graph = build_text_graph(blueprint, CpuInt8(rounded, {}), int8_rows)
    return graph, Quantization(
        scheme="dynamic",
        weights="int8 per output channel",
        activations=ACTIVATIONS["cpu", "dynamic"],
        kept_float=(),
        float32_bytes=float32_bytes,
        calibration=None,
        agreement=None,
        sensitivity=(),
    )


def int8_rows(g: GraphBuilder, tokens: str, blueprint: TextBlueprint) -> str:
    """Records rows of a table in int8, each with a scale of its own."""
    arch = blueprint.arch

    @lru_cache(maxsize=1)  # values and scales are written one after the other
    def rounded() -> QuantizedWeight:
        return round_to_nearest(blueprint.weights(TABLE))

    shape = (arch.vocabulary, arch.width)
    table = g.weight(TABLE, shape, lambda: rounded().values, np.int8)
    scales = g.weight(f"{TABLE}_scale", (arch.vocabulary, 1), lambda: rounded().scale[:, None])
    rows = g.node("Gather", [table, tokens], "rows/quantized", axis=0)  # (N, S, D)
    rows = g.node("Cast", [rows], "rows/steps", to=TensorProto.FLOAT)
    scale = g.node("Gather", [scales, tokens], "rows/scale", axis=0)  # (N, S, 1)
    return g.node("Mul", [rows, scale], "rows")
