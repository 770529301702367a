"""Reads the small text files in which Linux describes itself; a missing or odd file reads as empty."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path, *, errors: str = "surrogateescape") -> str:
    """Reads a file's text, without space around it; gives "" where the file cannot be read.

    Names of control groups are bytes, and one that is not UTF-8 must still lead to its folder: so by default such bytes
    are kept, as surrogates. Text for people should be read with `errors="replace"`, since surrogates cannot be written.
    """
    try:
        return path.read_text(encoding="utf-8", errors=errors).strip()
    except (OSError, ValueError):
        return ""


def parse_number(text: str) -> int:
    """Reads a whole number above 0; gives 0 for everything else, such as "", "max" and "-1"."""
    try:
        return max(0, int(text))
    except ValueError:
        return 0


def parse_list(text: str) -> set[int]:
    """Parses the kernel's list format, in which "0-3,8" is {0, 1, 2, 3, 8}; other text gives an empty set."""
    numbers: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            numbers.update(range(int(first), int(last or first) + 1))
    except ValueError:
        return set()
    return numbers
