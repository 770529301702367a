"""The sizes of the tiny model that most tests use."""

from __future__ import annotations

from dataclasses import replace

from vit_runtime.artifact import Architecture

TINY = Architecture(
    image_size=32, patch_size=8, layers=2, heads=2, width=128, mlp_width=256, classes=7, layer_norm_eps=1e-6
)
"""Small enough for a test to export it in a moment."""
THREE_BLOCKS = replace(TINY, layers=3)
"""With a third block: int8 treats the first, the last and those between them differently."""
