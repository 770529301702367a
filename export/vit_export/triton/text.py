"""Protobuf's text format, as far as a configuration of Triton needs it, without protobuf.

The specification is https://protobuf.dev/reference/protobuf/textformat-spec/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True)
class Name:
    """A value of an enumeration, which stands without quotes."""

    text: str


Scalar: TypeAlias = "str | int | bool | Name"
Value: TypeAlias = "Scalar | Message | Sequence[Scalar] | Sequence[Message]"
Message: TypeAlias = "Mapping[str, Value]"
"""Fields by name; a sequence is a repeated field, or the pairs of a map as messages with `key` and `value`."""

_ESCAPED: Final = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def message_text(message: Message) -> str:
    """Writes a message, a field a line.

    >>> print(message_text({"name": "a", "dims": [2, 3], "group": [{"kind": Name("KIND_CPU")}]}), end="")
    name: "a"
    dims: [2, 3]
    group {
      kind: KIND_CPU
    }
    """
    return "".join(f"{line}\n" for line in _lines(message))


def quoted(text: str) -> str:
    r"""Writes a string: UTF-8, of which everything but printable ASCII is escaped by its octal number.

    >>> print(quoted('a "café"'))
    "a \"caf\303\251\""
    """
    return f'"{"".join(map(_character, text.encode()))}"'


def _character(byte: int) -> str:
    if byte in _ESCAPED:
        return _ESCAPED[byte]
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def _lines(message: Message) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, Mapping):
            yield from _block(name, value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            scalars = [item for item in value if not isinstance(item, Mapping)]
            if scalars:
                yield f"{name}: [{', '.join(map(_scalar, scalars))}]"
            for item in value:
                if isinstance(item, Mapping):
                    yield from _block(name, item)
        else:
            yield f"{name}: {_scalar(value)}"


def _block(name: str, message: Message) -> Iterator[str]:
    yield f"{name} {{"
    yield from (f"  {line}" for line in _lines(message))
    yield "}"


def _scalar(value: Scalar) -> str:
    if isinstance(value, Name):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else str(value)
