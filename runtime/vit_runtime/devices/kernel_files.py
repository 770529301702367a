"""Reads the small text files in which Linux tells about itself; what is missing or odd reads as nothing."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str:
    """The file's text without space around it; "" where it cannot be read."""
    try:
        # Names of control groups are bytes: what is not UTF-8 in them must lead to the same folder.
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except (OSError, ValueError):
        return ""


def parse_number(text: str) -> int:
    """A whole number above 0; 0 for everything else, such as "", "max" and -1."""
    try:
        return max(0, int(text))
    except ValueError:
        return 0


def parse_list(text: str) -> set[int]:
    """Parses the kernel's list format, "0-3,8" is {0, 1, 2, 3, 8}; nothing where the text is in no such format."""
    numbers: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            numbers.update(range(int(first), int(last or first) + 1))
    except ValueError:
        return set()
    return numbers
