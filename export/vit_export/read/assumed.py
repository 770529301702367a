"""Assumptions where a checkpoint says nothing: the artifact lists them, and `vit-run check` repeats them."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from vit_export.read.picture_preparation import Preset
from vit_export.request import PreprocessingOptions
from vit_runtime.artifact import Assumption

_ASKED: Final = "as asked for at the export"


def heads(count: int, *, asked: bool, rule: str) -> Assumption:
    """The assumed number of attention heads, which leaves no trace in any weight."""
    return Assumption(subject="heads", value=str(count), basis=_ASKED if asked else rule)


def activation(kind: str, basis: str) -> Assumption:
    """The assumed function of the MLP, which leaves no trace in any weight."""
    return Assumption(subject="activation", value=kind, basis=basis)


def preprocessing(preset: Preset, options: PreprocessingOptions) -> Assumption:
    """The assumed preparation of pictures: a preset's name, and the parts that the user has replaced."""
    asked = [field.name for field in fields(options) if getattr(options, field.name) is not None]
    value = f"{preset.name}, but for {', '.join(asked)}, {_ASKED}" if asked else preset.name
    return Assumption(subject="preprocessing", value=value, basis=preset.why)
