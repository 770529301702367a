"""JSON lines and CSV: how a record becomes bytes, and which records a file holds already."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias, get_args

from vit_runtime.errors import OutputFileError, UsageError, option

Record: TypeAlias = Mapping[str, object]
"""What is said about one picture: "image" and the answer's fields, or "image" and "error"."""
Suffix: TypeAlias = Literal[".jsonl", ".csv"]
RECORD_SUFFIXES: Final[tuple[Suffix, ...]] = get_args(Suffix)

_LONGEST_RECORD: Final = 64 << 20
"""Most bytes of a record in a file that is gone on with."""
_NOT_OURS: Final = "give the file that the same command wrote, or another one"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a record becomes a line of a table."""

    columns: Sequence[str]
    """What the cells are called; "image" is one of them."""
    cells: Callable[[Record], Mapping[str, object]]
    """Gives a record's cells by the names of their columns; a column that it leaves out stays empty."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file, and its columns where it is a table."""

    suffix: Suffix
    layout: Layout

    def header(self) -> bytes:
        """What a new file begins with."""
        return b"" if self.suffix == ".jsonl" else _csv_line(self.layout.columns)

    def encode(self, record: Record) -> bytes:
        """A record as the bytes of its line or lines."""
        if self.suffix == ".jsonl":
            return json_line(record).encode() + b"\n"
        cells = self.layout.cells(record)
        return _csv_line([cells.get(column, "") for column in self.layout.columns])

    def names(self, path: Path) -> Iterator[tuple[str, int]]:
        """Reads a file's records: the picture of each, and where in the file the record ends.

        A last record that was cut off is left out.

        Raises:
            OutputFileError: the file cannot be read, or holds something else.
        """
        try:
            with path.open("rb") as file:
                yield from self._json_names(file, path) if self.suffix == ".jsonl" else self._csv_names(file, path)
        except OutputFileError:
            raise
        except OSError as error:
            raise OutputFileError(path, f"cannot be read ({error.strerror})", "choose another file") from error

    def _json_names(self, file: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
        end = 0
        for number, line in enumerate(_lines(file, path), start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                name = json.loads(line)["image"]
            except (ValueError, TypeError, KeyError, RecursionError):
                name = None
            if not isinstance(name, str):
                raise OutputFileError(path, f"line {number} is no record of a picture", _NOT_OURS)
            yield name, end

    def _csv_names(self, file: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
        columns = [*self.layout.columns]
        end = 0
        for number, record in enumerate(_csv_records(file, path), start=1):
            cells = _csv_cells(record, path, number)
            end += len(record)
            if number == 1:
                if cells != columns:
                    raise OutputFileError(path, "has other columns", _NOT_OURS)
                continue
            if len(cells) != len(columns):
                raise OutputFileError(path, f"record {number} has {len(cells)} cells", _NOT_OURS)
            yield cells[columns.index("image")], end


def format_of(path: Path, layout: Layout) -> Format:
    """The format that a file's name stands for.

    Raises:
        UsageError: the name ends in none of `RECORD_SUFFIXES`.
    """
    for suffix in RECORD_SUFFIXES:
        if path.suffix.lower() == suffix:
            return Format(suffix=suffix, layout=layout)
    raise UsageError(option("output"), f"'{path}' names no known format", f"end it in {' or '.join(RECORD_SUFFIXES)}")


def json_line(record: Record) -> str:
    """A record as one line of JSON."""
    return json.dumps(record, allow_nan=False)


def encoded(text: str) -> bytes:
    """A text as bytes: names that are not UTF-8 come as surrogates, and go out as the bytes that they are."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other surrogates: names of Windows, and labels from a file that means harm
        return text.encode("utf-8", "surrogatepass")


def _csv_line(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return encoded(text.getvalue())


def _csv_records(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Gives the bytes of each record that ends; a line that ends inside of quotes is not the end of its record."""
    lines: list[bytes] = []
    size = quotes = 0
    for line in _lines(file, path):
        lines.append(line)
        size, quotes = size + len(line), quotes + line.count(b'"')
        if size > _LONGEST_RECORD:
            raise OutputFileError(path, "has a record that is too long", _NOT_OURS)
        if line.endswith(b"\n") and quotes % 2 == 0:
            yield b"".join(lines)
            lines, size, quotes = [], 0, 0


def _csv_cells(record: bytes, path: Path, number: int) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(record.decode("utf-8", "surrogateescape"), newline="")), [])
    except csv.Error as error:
        raise OutputFileError(path, f"record {number} cannot be read ({error})", _NOT_OURS) from error


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_RECORD + 1):
        if len(line) > _LONGEST_RECORD:
            raise OutputFileError(path, "has a record that is too long", _NOT_OURS)
        yield line
