"""Names of the weights that the graph is built from, whatever they were called in a checkpoint: torchvision's."""

from __future__ import annotations


def block_name(layer: int) -> str:
    """Prefix of the names of one encoder block's weights."""
    return f"encoder.layers.encoder_layer_{layer}"
