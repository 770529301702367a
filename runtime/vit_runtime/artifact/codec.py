"""Turns frozen dataclasses into plain JSON documents and back, strictly: the dataclasses *are* the schema.

Reading refuses an unknown key, a missing key and a value of another type, and names the place. Supported
field types: str, int, float, bool, `T | None`, `Literal[...]`, `tuple[T, ...]`, `tuple[A, B]`, dataclasses.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"

_PLAIN: Final = frozenset({str, int, float, bool})
_LARGEST_EXACT_INT = 2**53
"""Ints below this are taken where a float belongs: JSON writes a whole float as an int, and a larger one with an
exponent."""


class SchemaError(ValueError):
    """A document that does not fit the dataclass; the text names the place and what was expected."""


def encode(value: Any) -> JsonValue:
    """Turns a dataclass into plain JSON: objects, lists, strings, numbers, null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} has no place in the schema")


def decode(cls: type[T], document: object, where: str = "document") -> T:
    """Builds a `cls` from its plain JSON form.

    Raises:
        SchemaError: a key is unknown or missing, a value is of the wrong type, or `cls` itself refuses it.
    """
    if not isinstance(document, dict):
        raise SchemaError(f"{where} should be an object, found {_describe(document)}")
    hints = _hints(cls)  # type: ignore[arg-type]  # every class is hashable; mypy doubts it for a type variable
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]  # cls is a dataclass
    if unknown := [key for key in document if key not in names]:
        raise SchemaError(f"{where} has an unknown key '{unknown[0][:40]}'")
    if missing := [name for name in names if name not in document]:
        raise SchemaError(f"{where} has no '{missing[0]}'")
    values = {name: _decode_value(hints[name], document[name], f"{where}.{name}") for name in names}
    try:
        return cls(**values)
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from error


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Types of a dataclass's fields. Python compiles each of them anew, a third of what reading an artifact takes."""
    return get_type_hints(cls)


def _decode_value(hint: Any, value: object, where: str) -> object:
    if type(value) is hint and hint in _PLAIN:  # most values: looked at first, since `get_origin` takes its time
        return value
    return _decode_other(hint, value, where)


def _decode_other(hint: Any, value: object, where: str) -> object:
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = [option for option in get_args(hint) if option is not types.NoneType]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            supported = ", ".join(map(repr, get_args(hint)))
            raise SchemaError(f"{where} is {_describe(value)}, supported: {supported}")
        return value
    if get_origin(hint) is tuple:
        return _decode_tuple(get_args(hint), value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value, where)
    if hint is float and type(value) is int and abs(value) < _LARGEST_EXACT_INT:
        return float(value)
    if type(value) is not hint:
        raise SchemaError(f"{where} should be a {hint.__name__}, found {_describe(value)}")
    return value


def _decode_tuple(hints: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise SchemaError(f"{where} should be a list, found {_describe(value)}")
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise SchemaError(f"{where} should have {len(hints)} items, found {len(value)}")
    pairs = zip(hints, value, strict=True)
    return tuple(_decode_value(hint, item, f"{where}[{index}]") for index, (hint, item) in enumerate(pairs))


def _describe(value: object) -> str:
    """Gives a short name for a value in a message: never pages of JSON."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)[:40]
