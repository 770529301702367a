"""A checkpoint as an encoder alone, without its own head."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vit_export.read.prepare import Prepared
from vit_runtime.artifact.architecture import without_classes

_HEADS: Final = "heads."


def headless(prepared: Prepared) -> Prepared:
    """Leaves a checkpoint's head out, and with it its classes, their labels, and what only the head reads."""
    state = {name: tensor for name, tensor in prepared.state.items() if not name.startswith(_HEADS)}
    return replace(prepared, architecture=without_classes(prepared.architecture), labels=None, head=None, state=state)
