"""Half precision for GPUs: linear layers and attention in fp16; in fp32 what would overflow.

The residual stream and its LayerNorms stay in fp32: a few of its channels grow with depth ("Massive Activations",
Sun et al. 2024), and their squares pass 65504, fp16's largest number. Softmax stays in fp32 too, for its sums.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from vit_export.errors import CheckpointError
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Attended, activation, attention_of_matmuls, fused_attention
from vit_export.write.rotary import Rotation, rotated
from vit_export.write.sizes import Sizes
from vit_runtime.arrays import FloatArray

_TO_RESIDUAL = ("pixels", "mixed", "gelu", "gated", "head")
"""Kinds of activations whose linear layers feed the residual stream or give the answer."""


class Half:
    """fp16 weights; in float32 only the residual stream, LayerNorm and softmax."""

    def __init__(self, *, fused: bool) -> None:
        """With `fused`, attention is onnxruntime's own operator, which sums in fp32 by itself."""
        self._fused = fused
        self._halved: dict[str, str] = {}

    def pixels(self, g: GraphBuilder, pixels: str) -> str:
        """Records a cast to fp16, which holds whole numbers up to 2048 exactly."""
        return g.node("Cast", [pixels], "half", to=TensorProto.FLOAT16)

    def linear(self, g: GraphBuilder, x: Activation, name: str, layer: Linear) -> str:
        """Records MatMul and Add in fp16; what goes to the residual stream is cast to float32."""
        outputs, inputs = layer.shape
        weight = g.weight(
            f"{layer.key}.weight", (inputs, outputs), lambda: _half(layer.key, layer.weight().T), np.float16
        )
        bias = g.weight(f"{layer.key}.bias", (outputs,), lambda: _half(layer.key, layer.bias()), np.float16)
        product = g.node("MatMul", [self._as_half(g, x), weight], f"{name}/matmul")
        if x.kind not in _TO_RESIDUAL:
            return g.node("Add", [product, bias], name)
        y = g.node("Add", [product, bias], f"{name}/half")
        return g.node("Cast", [y], name, to=TensorProto.FLOAT)

    def attention(
        self, g: GraphBuilder, qkv: tuple[str, str, str], arch: Sizes, *, queries: int, probabilities: bool
    ) -> Attended:
        """Records one fused operator, or MatMul, Softmax in fp32 and MatMul."""
        if self._fused:
            return fused_attention(g, qkv, arch, queries=queries, probabilities=probabilities, half=True)
        return attention_of_matmuls(g, qkv, arch, queries=queries, half=True)

    def rotated(self, g: GraphBuilder, x: str, rotation: Rotation, arch: Sizes, name: str) -> str:
        """Records rotated queries or keys in fp16."""
        return rotated(g, x, rotation, arch, name, np.float16)

    def activation(self, g: GraphBuilder, x: str, arch: Sizes) -> str:
        """Records the function that the model was trained with, in fp16."""
        return activation(g, x, arch, np.float16)

    def _as_half(self, g: GraphBuilder, x: Activation) -> str:
        if x.kind in ("pixels", "mixed", "gelu", "gated"):
            return x.value
        if x.value not in self._halved:
            self._halved[x.value] = g.node("Cast", [x.value], x.step(g, "half"), to=TensorProto.FLOAT16)
        return self._halved[x.value]


def _half(key: str, values: FloatArray) -> np.typing.NDArray[np.float16]:
    if np.abs(values).max() > np.finfo(np.float16).max:
        raise CheckpointError(key, "holds values above 65504, which fp16 cannot", "export it in fp32")
    return values.astype(np.float16)
