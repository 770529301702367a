"""Makes texts from files safe to print on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_CONTROLS: Final = (
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0x061C, 0x200E, 0x200F, 0x2028, 0x2029),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
"""Codes of C0, DEL and C1, of ends of lines, and of marks that turn the direction of writing (Unicode Standard
Annex 9)."""
_ESCAPES: Final = {code: chr(code).encode("unicode_escape").decode() for code in _CONTROLS}


def printable(text: str) -> str:
    r"""Makes a text that a terminal shows and does not obey, in one line.

    Labels and file names come from whoever made the files. Characters that would move the cursor, colour the screen,
    rename the window or turn the writing around become escapes.

    >>> printable("cat\x1b[2J")
    'cat\\x1b[2J'
    """
    return text.translate(_ESCAPES)


def printable_lines(text: str) -> str:
    """Makes each line of a text printable; the line ends stay, since they are our own."""
    return "\n".join(map(printable, text.split("\n")))


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Puts rows of cells into columns that are safe to print on a terminal, one line a row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
