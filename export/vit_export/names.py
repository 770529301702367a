"""The graph's names for weights. They are torchvision's, whatever a checkpoint calls its weights."""

from __future__ import annotations


def block_name(layer: int) -> str:
    """Prefix of the names of one encoder block's weights."""
    return f"encoder.layers.encoder_layer_{layer}"
