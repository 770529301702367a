"""Checks what a request says of classes of the user's own."""

from __future__ import annotations

from vit_export.request import ExportRequest
from vit_runtime.artifact import PLACE
from vit_runtime.errors import UsageError, option

_SHOWN = 60


def check_head(request: ExportRequest) -> None:
    """Checks that the options for classes go together.

    Raises:
        UsageError: names the option that does not go with another.
    """
    if request.classes is None:
        if request.prompt:
            raise UsageError(option("prompt"), "is for classes in words", f"add {option('classes')}, or leave it out")
        return
    if request.labels is not None:
        what = f"does not go with {option('classes')}, whose labels are its own"
        raise UsageError(option("labels"), what, "leave one out")


def plain_prompts(name: str, value: object) -> tuple[str, ...]:
    """Gives prompts as a tuple; one text is one prompt.

    Raises:
        UsageError: a prompt is no text, or has no place for the label.
    """
    prompts = (value,) if isinstance(value, str) else value
    if not isinstance(prompts, (tuple, list)):
        raise UsageError(option(name), f"{repr(value)[:_SHOWN]} is no list of texts", f"give {_example()}")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise UsageError(option(name), f"{repr(prompt)[:_SHOWN]} is no text", f"give {_example()}")
        if PLACE not in prompt:
            what = f"'{prompt[:_SHOWN]}' has no {PLACE}, where the label goes: all classes would have the same text"
            raise UsageError(option(name), what, f"for example: {_example()}")
    return tuple(prompts)


def _example() -> str:
    return f"'a photo of a {PLACE}.'"
