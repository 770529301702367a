"""Checks a request for a text tower: most options are about pictures."""

from __future__ import annotations

from dataclasses import fields

from vit_export.request import ExportRequest
from vit_runtime.errors import UsageError, option

_FOR_TEXTS = ("model", "text", "precision", "target", "against", "output", "force")


def check_text(request: ExportRequest) -> None:
    """Refuses options that a text tower does not take.

    Raises:
        UsageError: names the first of them.
    """
    for field in fields(request):
        if field.name in _FOR_TEXTS:
            continue
        default = ExportRequest(model=request.model)
        if getattr(request, field.name) != getattr(default, field.name):
            raise UsageError(option(field.name), f"is for pictures, not for {option('text')}", "leave it out")
    if request.precision == "int8" and request.target != "cpu":
        raise UsageError(
            option("target", request.target),
            "takes static int8 only, which a text tower has not",
            f"take {option('target', 'cpu')}, or {option('precision', 'fp16')}",
        )
