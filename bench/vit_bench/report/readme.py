"""A report in a README, between its marks: put there, and held against what stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vit_bench.errors import OutdatedError, ResultsError
from vit_bench.report.report import Report
from vit_runtime.files import atomic_write

BEGIN: Final = "<!-- vit-bench: begin -->"
END: Final = "<!-- vit-bench: end -->"
_GIVE: Final = "give a README with vit-bench marks"
_SHOWN: Final = 120
"""Letters of a differing line that an error quotes."""


def update_readme(readme: Path, markdown: str) -> None:
    """Puts a report's text between a README's marks, and leaves all else as it is, line ends included.

    Raises:
        ResultsError: the README cannot be read, or its marks are missing, there twice, or in the wrong order.
        OutputFileError: it cannot be written.
    """
    lines, begin, end = _read_marked(readme)
    line_end = "\r\n" if lines[begin].endswith("\r\n") else "\n"
    block = [f"{line}{line_end}" for line in _block(markdown)]
    with atomic_write(readme) as file:
        file.write("".join([*lines[: begin + 1], *block, *lines[end:]]).encode())


def check_readme(readme: Path, report: Report) -> None:
    """Holds a README and the plots against a report.

    Raises:
        ResultsError: the README cannot be read, or its marks are missing, there twice, or in the wrong order.
        OutdatedError: a line differs, or a plot is missing or was made from other data.
    """
    remedy = f"run: vit-bench report ... --readme {readme}"
    lines, begin, end = _read_marked(readme)
    shown = [line.rstrip("\r\n") for line in lines[begin + 1 : end]]
    wanted = _block(report.markdown)
    for offset in range(max(len(shown), len(wanted))):
        found, should = (side[offset] if offset < len(side) else None for side in (shown, wanted))
        if found != should:
            what = f"line {begin + 2 + offset} is {_quoted(found)}, and the results give {_quoted(should)}"
            raise OutdatedError(readme, what, remedy)
    for file in report.plots:
        if problem := file.problem:
            raise OutdatedError(file.path, problem, remedy)


def _block(markdown: str) -> list[str]:
    return ["", *markdown.splitlines(), ""]


def _read_marked(readme: Path) -> tuple[list[str], int, int]:
    """A README's lines with their ends, and where its two marks stand."""
    try:
        lines = readme.read_bytes().decode("utf-8").splitlines(keepends=True)
    except OSError as error:
        raise ResultsError(readme, f"cannot be read ({error.strerror})", _GIVE) from error
    except UnicodeDecodeError as error:
        raise ResultsError(readme, "is not UTF-8", _GIVE) from error
    places = []
    for mark in (BEGIN, END):
        found = [number for number, line in enumerate(lines) if line.strip() == mark]
        if len(found) != 1:
            what = f"has the line {mark} {len(found)} times" if found else f"has no line {mark}"
            raise ResultsError(readme, what, f"let {BEGIN} and {END} stand once each, on lines of their own")
        places += found
    if places[0] > places[1]:
        raise ResultsError(readme, f"has {END} in front of {BEGIN}", "swap them")
    return lines, places[0], places[1]


def _quoted(line: str | None) -> str:
    if line is None:
        return "missing"
    return f"'{line}'" if len(line) <= _SHOWN else f"'{line[:_SHOWN]}...'"
