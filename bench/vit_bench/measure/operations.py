"""How many operations a Vision Transformer takes, from its sizes alone.

A multiplication and the addition behind it are two operations. Only matrix products count: LayerNorm, softmax, GELU and
residual additions are under one percent of what a model computes.
"""

from __future__ import annotations

from typing import Final, Literal

from vit_runtime.artifact import Architecture

Part = Literal["patches", "qkv", "scores", "mix", "output", "mlp/hidden", "mlp/output", "head"]

_COLOURS: Final = 3


def operations_by_part(arch: Architecture) -> dict[Part, int]:
    """Operations of one picture, in all layers, as Dosovitskiy et al. (2021, section 3.1) define the model.

    Every token passes through every block, also where no answer depends on it; the exported graph leaves that out.
    """
    tokens, width, layers = arch.tokens, arch.width, arch.layers
    patches, values = arch.grid**2, arch.patch_size**2 * _COLOURS
    return {
        "patches": _product(patches, values, width),
        "qkv": layers * _product(tokens, width, 3 * width),
        # For each head (S, K) times (K, S) and (S, S) times (S, K); K adds up to the width over all heads.
        "scores": layers * _product(tokens, width, tokens),
        "mix": layers * _product(tokens, tokens, width),
        "output": layers * _product(tokens, width, width),
        "mlp/hidden": layers * _product(tokens, width, arch.mlp_width),
        "mlp/output": layers * _product(tokens, arch.mlp_width, width),
        "head": _product(1, arch.head_width, arch.classes),
    }


def architecture_operations(arch: Architecture) -> int:
    """All of `operations_by_part`: what one picture takes."""
    return sum(operations_by_part(arch).values())


def _product(rows: int, inner: int, columns: int) -> int:
    return 2 * rows * inner * columns
