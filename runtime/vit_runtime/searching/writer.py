"""Adds rows to an index, as they come, so that whatever ends the program loses a few seconds of work at most."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.errors import OutputFileError, UsageError, option
from vit_runtime.searching.growing import Rows, append, compact, delete_others
from vit_runtime.searching.layout import NAME_BYTES, Header
from vit_runtime.searching.lock import locked
from vit_runtime.searching.rows import pack
from vit_runtime.searching.snapshot import Snapshot, load
from vit_runtime.searching.storage import write_header
from vit_runtime.vectors import normalized

_MOST_WAITING: Final = 1024
"""Rows that wait for the disk."""
_LONGEST_WAIT: Final = 5.0
"""Seconds that a row waits for the disk, as long as others come."""


class Stamp(NamedTuple):
    """The size and the time of the last change of a picture's file, by which a later run sees that it has changed."""

    size: int
    mtime_ns: int


UNKNOWN: Final = Stamp(0, 0)


@dataclass(frozen=True, eq=False)
class _Change:
    """What waits for the disk: a row to add, or none, and the number of a row to drop, or none."""

    record: bytes = b""
    name: bytes = b""
    stamp: Stamp = UNKNOWN
    drops: int | None = None


class Writer:
    """Adds rows to an index. It is used in a `with` block, whose end writes what waits, after an exception too.

    The rows' names are held in memory: about 200 MB for a million.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = locked(folder)

    def __enter__(self) -> Writer:
        """Takes the index for itself.

        Raises:
            OutputFileError: another writer holds it.
            IndexFileError: it is damaged.
        """
        self._lock.__enter__()
        try:
            self._before: Snapshot = load(self._folder)
            self._header: Header = self._before.header
            self._rows = {name: row for row, name in self._before.named()}
            self._waiting: list[_Change] = []
            self._next_row = self._header.rows
            self._written = time.monotonic()
            delete_others(self._folder, self._header)
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, OutputFileError):  # else the disk takes no more, and has said so
                self.commit()
                if self._header.dropped > self._header.rows - self._header.dropped:
                    compact(self._folder)
        finally:
            self._lock.__exit__(None, None, None)

    def put(self, name: str, row: FloatArray, stamp: Stamp = UNKNOWN) -> None:
        """Adds a row (width,) of float32, or replaces that of the same name. It is scaled to length 1.

        Raises:
            UsageError: the row has another width, or NaN or infinity in it; the name is empty or too long.
            OutputFileError: the disk takes no more; the index has what was written before.
        """
        encoded = _encoded(name)
        values = np.asarray(row, np.float32)
        if values.shape != (self._header.width,):
            what = f"a row of shape {values.shape}, and this index has rows of ({self._header.width},)"
            raise UsageError(option("rows"), what, "give embeddings by the model that the index was made with")
        if not np.isfinite(values).all():
            raise UsageError(option("rows"), f"the row of {name!r} has NaN or infinity", "leave it out")
        record = pack(normalized(values[None]), self._header.numbers)
        self._waiting.append(_Change(record, encoded, stamp, self._rows.get(name)))
        self._rows[name] = self._next_row
        self._next_row += 1
        if len(self._waiting) >= _MOST_WAITING or time.monotonic() - self._written > _LONGEST_WAIT:
            self.commit()

    def remove(self, name: str) -> bool:
        """Drops the row of a name; says whether there was one."""
        row = self._rows.get(name)
        if row is None:
            return False
        self._waiting.append(_Change(drops=row))
        del self._rows[name]
        return True

    def names_before(self) -> list[str]:
        """Names of the rows that were there at the beginning, and still are."""
        return [name for name, row in self._rows.items() if row < self._before.header.rows]

    def stamp_before(self, name: str) -> Stamp | None:
        """The stamp of a row that was there at the beginning, and still is; zeros where it was given none."""
        row = self._rows.get(name)
        if row is None or row >= self._before.header.rows:
            return None
        entry = self._before.entries[row]
        return Stamp(int(entry["size"]), int(entry["mtime_ns"]))

    def commit(self) -> None:
        """Writes what waits: first to the ends of the files, and then the header that counts it.

        Raises:
            OutputFileError: the disk takes no more; the index has what was written before.
        """
        if self._waiting:
            added = [change for change in self._waiting if change.record]
            rows = Rows(
                b"".join(change.record for change in added),
                [change.name for change in added],
                [change.stamp for change in added],
                [change.drops for change in self._waiting if change.drops is not None],
            )
            header = append(self._folder, self._header, rows)
            write_header(self._folder, header)
            self._header, self._waiting = header, []
        self._written = time.monotonic()


def _encoded(name: str) -> bytes:
    encoded = name.encode("utf-8", "surrogateescape")
    if not 0 < len(encoded) <= NAME_BYTES:
        raise UsageError(option("names"), f"{name[:40]!r} has {len(encoded)} bytes", f"give 1 to {NAME_BYTES}")
    return encoded
