"""The head: from what it reads of a picture to logits (`graph` lists the dimensions)."""

from __future__ import annotations

from typing import Final

from vit_export.write.blocks import Recording
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation
from vit_runtime.artifact import Architecture

HEAD: Final = "head/input"
"""Path of the place where the head reads the embedding."""


def classify(model: Recording[Architecture], features: str) -> None:
    """Records `logits` (N, C) from what the head reads, (N, E) or in some variants (N, 2·D).

    A head that was fitted to photos may compare an embedding with several rows of weights for each class, of which the
    best one counts. Its last class may be that of unknown pictures: its logit is the largest of the others, and the
    smallest of some further products on top, which is above zero where no photo is similar enough.
    """
    g, arch = model.g, model.arch
    several, unknown = arch.rows_per_class > 1, arch.unknown_rows > 0
    if arch.normalised_head:
        length = g.node("ReduceL2", [features, g.constant("axis/last", [-1])], "head/length", keepdims=1)
        features = g.node("Div", [features, length], "head/direction")
    token = Activation(value=features, site=HEAD, kind="head", rows=1, width=arch.head_width)

    def products(name: str, key: str, rows: int) -> str:
        return model.lowering.linear(g, token, name, Linear.stored(model.weights, key, (rows, arch.head_width)))

    known = "head/known" if unknown else "logits"
    logits = products("head/rows" if several else known, "heads.head", arch.head_rows)
    if several:
        shape = g.constant("shape/rows_per_class", (0, -1, arch.rows_per_class))
        logits = g.node("Reshape", [logits, shape], "head/rows_of_classes")  # (N, C, rows)
        logits = g.node("ReduceMax", [logits, g.constant("axis/last", [-1])], known, keepdims=0)
    if unknown:
        distances = products("head/distances", "heads.unknown", arch.unknown_rows)
        last = g.constant("axis/last", [-1])
        nearest = g.node("ReduceMin", [distances, last], "head/nearest", keepdims=1)  # (N, 1)
        best = g.node("ReduceMax", [logits, last], "head/best", keepdims=1)
        g.node("Concat", [logits, g.node("Add", [best, nearest], "head/unknown")], "logits", axis=1)
