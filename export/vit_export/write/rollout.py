"""Attention rollout as part of the graph: how much of the answer comes from each patch.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (2020), section 3: information also flows through the
residual connection, so a layer mixes tokens by A = ½ W + ½ I, where W is the attention weights averaged over heads, and

    rollout = A_L · A_{L-1} · … · A_1

If heads are fused in another way than by the mean, or the smallest weights are discarded, rows do not add up to 1. They
are then scaled so that they do: A = (W + I) / (1 + Σ W). Only the answer's row of the product is wanted. It is carried
through from the last layer to the first: a vector times a matrix for each layer, not a matrix times a matrix.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import TensorProto

from vit_export.write.builder import GraphBuilder
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Architecture, HeadFusion, Rollout

_REDUCTIONS: Final[dict[HeadFusion, str]] = {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin"}


class RolloutRecorder:
    """Takes each block's attention as it is recorded, and records the rollout after the last."""

    def __init__(self, arch: Architecture, how: Rollout) -> None:
        self._arch = arch
        self._how = how
        self._layers: list[tuple[str, str]] = []
        """For each block, the fused attention (N, queries, S) and the scale of its rows, (N, queries) or ()."""
        self._pooling: str | None = None
        """The pooling probe's fused attention (N, 1, S); None without such a pooling."""

    def watch(self, g: GraphBuilder, probabilities: str) -> None:
        """Takes one block's attention probabilities (N, H, queries, S), in the block's scope."""
        with g.scope("rollout"):
            fused = self._fused(g, probabilities)
            if not self._rows_differ:
                scale = g.constant("scale/half", 0.5, np.float32)  # softmax's rows add up to 1
            else:
                sums = g.node("ReduceSum", [fused, g.constant("axis/last", [-1])], "sums", keepdims=0)
                sums = g.node("Add", [sums, g.constant("scale/one", 1.0, np.float32)], "sums_with_residual")
                scale = g.node("Reciprocal", [sums], "scale")
        self._layers.append((fused, scale))

    def watch_pooling(self, g: GraphBuilder, probabilities: str) -> None:
        """Takes the pooling probe's attention probabilities (N, H, 1, S): the shares that the answer starts with.

        The probe is no token, so there is no residual connection: the row is scaled to add up to 1 by itself.
        """
        with g.scope("rollout"):
            row = self._fused(g, probabilities)
            if self._rows_differ:
                total = g.node("ReduceSum", [row, g.constant("axis/last", [-1])], "total", keepdims=1)
                row = g.node("Div", [row, total], "row")
        self._pooling = row

    def output(self, g: GraphBuilder) -> None:
        """Records the output `rollout` (N, G, G)."""
        arch = self._arch
        start = self._pooling or g.weight("rollout/start", (1, 1, arch.tokens), self._start)
        fused, scale = self._layers.pop()
        with g.scope("rollout"):
            if arch.pooling in ("patch_mean", "attention"):
                row = self._step(g, f"{arch.layers - 1}", start, fused, scale)
            else:
                row = self._class_row(g, start, fused, scale)
            while self._layers:
                row = self._step(g, f"{len(self._layers) - 1}", row, *self._layers.pop())
            bounds = [g.constant(f"rollout/{name}", [at]) for name, at in (("from", arch.prefix), ("to", arch.tokens))]
            patches = g.node("Slice", [row, *bounds, g.constant("axis/last", [-1])], "patches")  # (N, 1, G·G)
        g.node("Reshape", [patches, g.constant("shape/grid", (0, arch.grid, arch.grid))], "rollout")
        g.output("rollout", TensorProto.FLOAT, ("N", arch.grid, arch.grid))

    def _start(self) -> FloatArray:
        """Gives each token's share in the answer (1, 1, S): all for the class token, or even shares for all patches."""
        start = np.zeros((1, 1, self._arch.tokens), np.float32)
        if self._arch.pooling == "patch_mean":
            start[..., self._arch.prefix :] = 1 / self._arch.grid**2
        else:
            start[..., 0] = 1
        return start

    def _class_row(self, g: GraphBuilder, start: str, fused: str, scale: str) -> str:
        """Records the class token's row of the last A, (N, 1, S); the last block may have computed few others."""
        first = g.constant("index/class_row", [0])
        row = g.node("Gather", [fused, first], "class_token", axis=1)
        y = g.node("Add", [row, start], "class_token_with_residual")
        if self._rows_differ:
            scale = g.node("Gather", [scale, first], "class_token_scale", axis=1)  # (N, 1)
            scale = g.node("Unsqueeze", [scale, g.constant("axis/last", [-1])], "class_token_column")
        return g.node("Mul", [y, scale], "class_token_scaled")

    def _step(self, g: GraphBuilder, name: str, row: str, fused: str, scale: str) -> str:
        """Records row · A: (N or 1, 1, S) times (N, S, S) to (N, 1, S)."""
        if self._rows_differ:
            scale = g.node("Unsqueeze", [scale, g.constant("axis/heads", [1])], f"{name}/scale")  # (N, 1, S)
        scaled = g.node("Mul", [row, scale], f"{name}/scaled")
        mixed = g.node("MatMul", [scaled, fused], f"{name}/mixed")
        return g.node("Add", [mixed, scaled], f"{name}/row")

    @property
    def _rows_differ(self) -> bool:
        """Whether each row has a scale of its own."""
        return self._how.head_fusion != "mean" or int(self._how.discard_ratio * self._arch.tokens) > 0

    def _fused(self, g: GraphBuilder, probabilities: str) -> str:
        """Records attention fused over heads, without the smallest weights: (N, H, queries, S) to (N, queries, S)."""
        reduction = _REDUCTIONS[self._how.head_fusion]
        fused = g.node(reduction, [probabilities, g.constant("axis/heads", [1])], "fused", keepdims=0)
        discarded = int(self._how.discard_ratio * self._arch.tokens)
        return self._without_smallest(g, fused, discarded) if discarded else fused

    def _without_smallest(self, g: GraphBuilder, fused: str, discarded: int) -> str:
        """Sets the smallest weights of each row to zero, (N, queries, S); more may stay where weights are equal."""
        kept = self._arch.tokens - discarded
        last = g.constant("axis/last", [-1])
        # The limit is the least of the `kept` largest weights. It is also the greatest of the `discarded + 1` smallest.
        # Sorting the shorter list is faster.
        largest = kept <= discarded
        count = g.constant("rollout/count", [kept if largest else discarded + 1])
        few = g.top_k(fused, count, "few", largest=largest)
        least = g.node("ReduceMin" if largest else "ReduceMax", [few, last], "least", keepdims=1)
        stays = g.node("GreaterOrEqual", [fused, least], "stays")
        return g.node("Where", [stays, fused, g.constant("rollout/zero", 0.0, np.float32)], "kept")
