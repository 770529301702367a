"""Refuses arguments of the wrong type or size, by name, before any work."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from vit_runtime.errors import UsageError, option


def as_whole_number(value: object) -> int | None:
    """Gives a whole number, Python's or NumPy's, as an int; None for anything else, even a bool."""
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # other types raise
    except TypeError:
        return None


def whole_number(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """Gives a whole number from `least` to `most` as an int.

    Raises:
        UsageError: the value is anything else.
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
    """Copies a mapping of text to text; None gives an empty one.

    Raises:
        UsageError: the value is anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for item in value.items() for part in item):
        raise UsageError(option(name), f"{str(value)[:40]!r} is no mapping of text to text", "give {'name': 'value'}")
    return dict(value)
