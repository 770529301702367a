"""Arguments of the wrong type or size, refused by name before any work."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from vit_runtime.errors import UsageError, option


def as_whole_number(value: object) -> int | None:
    """A whole number of Python's or NumPy's; None for anything else, a bool too."""
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # what is none raises
    except TypeError:
        return None


def whole_number(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """A whole number in range.

    Raises:
        UsageError: it is something else.
    """
    number = as_whole_number(value)
    if number is None:
        raise UsageError(option(name), f"{str(value)[:40]!r} is no whole number", f"give at least {least}")
    if number < least:
        raise UsageError(option(name), f"{number} is too few", f"give at least {least}")
    if most is not None and number > most:
        raise UsageError(option(name), f"{number} is too many", f"give at most {most}")
    return number


def text_by_text(name: str, value: object) -> dict[str, str]:
    """A mapping of text to text, copied; empty for None.

    Raises:
        UsageError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for item in value.items() for part in item):
        raise UsageError(option(name), f"{str(value)[:40]!r} is no mapping of text to text", "give {'name': 'value'}")
    return dict(value)
