"""The linear layers of a Vision Transformer, as the checkpoint holds them; `lowering` turns them into nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vit_export.write.weights import WeightSource
from vit_runtime.arrays import FloatArray


@dataclass(frozen=True, kw_only=True)
class Linear:
    """The weights of y = x Wᵀ + b, PyTorch's `Linear`, made when they are written."""

    key: str
    """Prefix of the weights' names in the graph, the checkpoint's own where the layer has one."""
    shape: tuple[int, int]
    """Shape of W, (out, in)."""
    weight: Callable[[], FloatArray]
    """Gives W, (out, in)."""
    bias: Callable[[], FloatArray]
    """Gives b, (out,)."""

    @classmethod
    def stored(cls, weights: WeightSource, key: str, shape: tuple[int, int]) -> Linear:
        """Makes a layer whose weights are used as the checkpoint holds them."""
        return cls(
            key=key,
            shape=shape,
            weight=lambda: weights(f"{key}.weight"),
            bias=lambda: weights(f"{key}.bias"),
        )
