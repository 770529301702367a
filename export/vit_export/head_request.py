"""Checks what a request says of classes of the user's own."""

from __future__ import annotations

from vit_export.request import ExportRequest, replaces_head
from vit_runtime.artifact import PLACE
from vit_runtime.errors import UsageError, option

_SHOWN = 60


def check_head(request: ExportRequest) -> None:
    """Checks that the options for classes go together.

    Raises:
        UsageError: names the option that does not go with another.
    """
    _check_examples(request)
    if request.classes is None:
        if request.prompt:
            raise UsageError(option("prompt"), "is for classes in words", f"add {option('classes')}, or leave it out")
        return
    if request.labels is not None:
        what = f"does not go with {option('classes')}, whose labels are its own"
        raise UsageError(option("labels"), what, "leave one out")


def _check_examples(request: ExportRequest) -> None:
    examples = option("examples")
    if request.examples is None:
        if request.unknown:
            what = "is for classes that are fitted to photos"
            raise UsageError(option("unknown", value=True), what, f"add {examples}, or leave it out")
        return
    if request.classes is not None:
        what = f"does not go with {examples}: classes are described in words, or shown"
        raise UsageError(option("classes"), what, "leave one out")
    if request.labels is not None:
        what = f"does not go with {examples}, whose folders are named by the labels"
        raise UsageError(option("labels"), what, "leave one out")
    if replaces_head(request):
        given = {"model", "examples", "unknown", "output", "force"}
        plain = ExportRequest(**{name: getattr(request, name) for name in given})
        if request != plain:
            what = f"is exported already: with {examples} its head is replaced, and all else stays as it is"
            raise UsageError(request.name, what, "leave other options out")
    if request.text:
        raise UsageError(examples, f"does not go with {option('text')}, which reads no pictures", "leave one out")


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
