"""Markdown pages of which a part is generated: what stands between two marks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vit_bench.errors import OutdatedError, ResultsError
from vit_runtime.files import atomic_write

REMEDY: Final = "run: vit-bench report ... without --check"
BEGIN: Final = "<!-- vit-bench: begin -->"
END: Final = "<!-- vit-bench: end -->"
_GIVE: Final = "give a Markdown file with vit-bench marks"
_SHOWN: Final = 120
"""Letters of a differing line that an error quotes."""


def update_page(page: Path, markdown: str) -> None:
    """Puts text between a page's marks, and leaves all else as it is, line ends included.

    Raises:
        ResultsError: the page cannot be read, or its marks are missing, there twice, or in the wrong order.
        OutputFileError: it cannot be written.
    """
    lines, begin, end = _read_marked(page)
    line_end = "\r\n" if lines[begin].endswith("\r\n") else "\n"
    block = [f"{line}{line_end}" for line in _block(markdown)]
    with atomic_write(page) as file:
        file.write("".join([*lines[: begin + 1], *block, *lines[end:]]).encode())


def check_page(page: Path, markdown: str) -> None:
    """Compares what stands between a page's marks with what should.

    Raises:
        ResultsError: the page cannot be read, or its marks are missing, there twice, or in the wrong order.
        OutdatedError: a line differs.
    """
    lines, begin, end = _read_marked(page)
    shown = [line.rstrip("\r\n") for line in lines[begin + 1 : end]]
    wanted = _block(markdown)
    for offset in range(max(len(shown), len(wanted))):
        found, should = (side[offset] if offset < len(side) else None for side in (shown, wanted))
        if found != should:
            what = f"line {begin + 2 + offset} is {_quoted(found)}, and the results give {_quoted(should)}"
            raise OutdatedError(page, what, REMEDY)


def _block(markdown: str) -> list[str]:
    return ["", *markdown.splitlines(), ""]


def _read_marked(page: Path) -> tuple[list[str], int, int]:
    """A page's lines with their ends, and where its two marks stand."""
    try:
        lines = page.read_bytes().decode("utf-8").splitlines(keepends=True)
    except OSError as error:
        raise ResultsError(page, f"cannot be read ({error.strerror})", _GIVE) from error
    except UnicodeDecodeError as error:
        raise ResultsError(page, "is not UTF-8", _GIVE) from error
    places = []
    for mark in (BEGIN, END):
        found = [number for number, line in enumerate(lines) if line.strip() == mark]
        if len(found) != 1:
            what = f"has the line {mark} {len(found)} times" if found else f"has no line {mark}"
            raise ResultsError(page, what, f"let {BEGIN} and {END} stand once each, on lines of their own")
        places += found
    if places[0] > places[1]:
        raise ResultsError(page, f"has {END} in front of {BEGIN}", "swap them")
    return lines, places[0], places[1]


def _quoted(line: str | None) -> str:
    if line is None:
        return "missing"
    return f"'{line}'" if len(line) <= _SHOWN else f"'{line[:_SHOWN]}...'"
