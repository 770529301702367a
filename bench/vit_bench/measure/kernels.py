"""What onnxruntime's profile of a pass says: each kernel's time, its matrix product, and what it is there for.

The profile holds every kernel with its name in the optimized graph and the shapes that it read and wrote. Weights that
a kernel has packed are not listed, so a product's size is read off what goes in first and what comes out. What a kernel
is there for is read off the names that `vit_export.write.graph` gives, which fusions keep or extend.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["fp32", "int8"]
Dimensions = tuple[int, ...]

ATTENTION: Final = "attention"
ROLLOUT: Final = "attention rollout"
GELU: Final = "GELU"
LAYER_NORM: Final = "LayerNorm"
ROUNDING: Final = "QuantizeLinear, DequantizeLinear"
SCALES: Final = "scales and second roundings"
ADDITIONS: Final = "biases and residuals"
OTHER_PRODUCTS: Final = "other matrix products"
REST: Final = "everything else"

_FLOAT_PRODUCTS: Final = frozenset({"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulNBits"})
_INTEGER_PRODUCTS: Final = frozenset(
    {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"}
)
_FUSED_ATTENTION: Final = "MultiHeadAttention"
_GELU: Final = frozenset({"Gelu", "BiasGelu", "FastGelu", "Erf"})
_LAYER_NORM: Final = frozenset({"LayerNormalization", "SkipLayerNormalization"})
_ROUNDING: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_VIEWS: Final = frozenset({"Reshape", "Squeeze", "Unsqueeze"})
"""Operators that give a tensor another shape and touch none of its values."""

_LAYER: Final = re.compile(
    r"(?:encoder/\d+/)?"
    r"(patch_embed/projection|attention/(?:query|key|value|output)|mlp/(?:hidden|output)|logits)(?:/(\w+)|$)"
)
"""A linear layer's path and, below it, the first part of the name of one of its nodes."""
_LAYER_NAMES: Final = {
    "patch_embed/projection": "patches",
    **dict.fromkeys(("attention/query", "attention/key", "attention/value"), "query, key, value"),
    "logits": "head",
}
_LAYER_SCALES: Final = frozenset({"scaled", "pair", "whole", "rest", "rest_scaled", "sum"})
"""Nodes of a linear layer that undo scales and add up both halves of a product of 16 bits."""
_SITE_STEP: Final = re.compile(r"(?:.*/)?(?:attention/(?:input|mixed)|mlp/(?:input|gelu)|patch_embed/input)/")
"""Matches what lies below an activation's own path: a step of quantizing it."""
_ATTENTION_STEP: Final = re.compile(
    r"(?:.*/)?attention/(?:(?:scores|softmax|mix|transpose|concat)(?:/|$)|(?:query|key|value)/(?:heads|transpose))"
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A matrix product (rows, inner) times (inner, columns)."""

    kind: Kind
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Two for each multiplication and the addition behind it."""
        return 2 * self.rows * self.inner * self.columns


@dataclass(frozen=True, kw_only=True)
class ProfiledKernel:
    """One kernel of one pass."""

    group: str
    """What it is there for: the row of the table that it belongs to."""
    layer: str
    """A linear layer's place in a block: "mlp/hidden"; empty for what is none."""
    product: Shape | None
    """A linear layer's product; None for all else, attention's products too."""
    operations: int
    view: bool
    """Whether it only gives a tensor another shape."""
    seconds: float
    """Time of the kernel, with what the profiler adds."""


Pass = tuple[ProfiledKernel, ...]


def read_passes(profile: Path) -> list[Pass]:
    """The passes of a profile that onnxruntime has written, in the order in which they ran."""
    events: list[dict[str, Any]] = json.loads(profile.read_text(encoding="utf-8"))
    passes: list[Pass] = []
    kernels: list[ProfiledKernel] = []
    for event in events:
        name = str(event["name"])
        if name == "model_run":  # written when a pass ends, behind its kernels
            passes.append(tuple(kernels))
            kernels = []
        elif event["cat"] == "Node" and name.endswith("_kernel_time"):
            args = event["args"]
            kernels.append(
                profiled_kernel(
                    name.removesuffix("_kernel_time"),
                    str(args["op_name"]),
                    _dimensions(args["input_type_shape"]),
                    _dimensions(args["output_type_shape"]),
                    seconds=event["dur"] / 1e6,
                )
            )
    return passes


def _dimensions(listed: Sequence[dict[str, list[int]]]) -> list[Dimensions]:
    """Shapes from a list of [{"float": [1, 197, 768]}, ...]."""
    return [tuple(shape) for typed in listed for shape in typed.values()]


def profiled_kernel(
    name: str, operator: str, inputs: Sequence[Dimensions], outputs: Sequence[Dimensions], *, seconds: float
) -> ProfiledKernel:
    """A kernel from its name in the optimized graph, its operator, and the shapes that it reads and writes."""
    shape = _product(operator, inputs, outputs)
    found = _LAYER.match(name)
    if shape is not None and found is not None and "rollout" not in name:
        layer = _LAYER_NAMES.get(found[1], found[1])
        group = f"linear, {shape.kind}: {layer}"
    else:
        layer, group = "", _group(name, operator, is_product=shape is not None)
    operations = _attention_operations(inputs) if operator == _FUSED_ATTENTION else 0
    return ProfiledKernel(
        group=group,
        layer=layer,
        product=shape if layer else None,
        operations=operations if shape is None else shape.operations,
        view=operator in _VIEWS,
        seconds=seconds,
    )


def _product(operator: str, inputs: Sequence[Dimensions], outputs: Sequence[Dimensions]) -> Shape | None:
    """A matrix product's size; further axes in front, the batch or heads, count as rows."""
    integer = operator in _INTEGER_PRODUCTS
    if not (integer or operator in _FLOAT_PRODUCTS) or not inputs or not outputs or not inputs[0] or not outputs[0]:
        return None
    *rows, columns = outputs[0]
    return Shape(kind="int8" if integer else "fp32", rows=math.prod(rows), inner=inputs[0][-1], columns=columns)


def _attention_operations(inputs: Sequence[Dimensions]) -> int:
    """Q Kᵀ and the mix of values, from query (N, Q, D), key (N, S, D) and value (N, S, D)."""
    if len(inputs) < 3 or any(len(shape) != 3 for shape in inputs[:3]):
        return 0
    (batch, queries, width), (_, tokens, _), (_, _, value_width) = inputs[:3]
    return 2 * batch * queries * tokens * (width + value_width)


def _group(name: str, operator: str, *, is_product: bool) -> str:
    found = _LAYER.match(name)
    scales = _SITE_STEP.match(name) or (found is not None and found[2] in _LAYER_SCALES)
    # In the order in which they are asked: an operator says more than a name, which a fusion may have made up.
    answers = {
        ROLLOUT: "rollout" in name,
        GELU: operator in _GELU,
        LAYER_NORM: operator in _LAYER_NORM,
        ROUNDING: operator in _ROUNDING,
        # A fusion leaves Squeeze without a path; only products of 16 bits have any.
        SCALES: scales or operator == "Squeeze",
        ATTENTION: operator in (_FUSED_ATTENTION, "Softmax") or _ATTENTION_STEP.match(name),
        OTHER_PRODUCTS: is_product,
        ADDITIONS: operator == "Add",
    }
    return next((group for group, is_it in answers.items() if is_it), REST)


def group_seconds(passes: Sequence[Pass]) -> dict[str, float]:
    """Time of each group in a median pass, without what the profiler adds.

    The median pass is the mean of the middle half, by the time that their kernels take together: unlike medians of each
    group, which on a busy machine miss what hits one group after the other, these add up to a whole pass.

    onnxruntime writes down a kernel's shapes while that kernel's clock runs, some microseconds, which for a graph of
    many small kernels would be a third of the pass. What a kernel takes that only gives a tensor another shape, the
    median of those in the same pass, is that cost; it is taken off every kernel.

    Args:
        passes: at least one.
    """
    samples = sorted((_group_totals(kernels) for kernels in passes), key=lambda totals: sum(totals.values()))
    cut = len(samples) // 4
    middle = samples[cut : len(samples) - cut]
    # A group of views alone may come out a little below zero.
    return {group: max(0.0, statistics.fmean(totals[group] for totals in middle)) for group in middle[0]}


def _group_totals(kernels: Pass) -> dict[str, float]:
    views = [kernel.seconds for kernel in kernels if kernel.view]
    cost = statistics.median(views) if views else 0.0
    totals: dict[str, float] = {}
    for kernel in kernels:
        totals[kernel.group] = totals.get(kernel.group, 0.0) + kernel.seconds - cost
    return totals


def linear_products(kernels: Pass) -> Iterator[tuple[str, Shape]]:
    """Place and shape of each linear layer's product, in the order of the pass."""
    for kernel in kernels:
        if kernel.product is not None:
            yield kernel.layer, kernel.product
