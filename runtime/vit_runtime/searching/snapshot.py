"""An index as it is on the disk at a moment, checked; what is added later is not in it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vit_runtime.errors import IndexFileError
from vit_runtime.searching.layout import DROPPED, ENTRY, NAME_BYTES, REMEDY, Header, Part, part_file
from vit_runtime.searching.storage import open_to_read, read_header

_TRIES: Final = 5
"""How often files are looked for again that a writer has replaced in the meantime."""
_CHECKED_BYTES: Final = 16 << 20
"""Bytes of a mapped file that are read at a time for a checksum."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The files of an index, mapped as far as the header counts them."""

    folder: Path
    header: Header
    vectors: Array
    """A record a row, as `Header.record` says."""
    entries: Array
    names: npt.NDArray[np.uint8]
    dropped: npt.NDArray[np.int64]
    """Numbers of rows that do not count any more, ascending."""

    def __len__(self) -> int:
        return self.header.rows - len(self.dropped)

    def name(self, row: int) -> str:
        """A row's name; bytes of a file's name that are no UTF-8 are kept as Python keeps them."""
        begin = int(self.entries["name_end"][row - 1]) if row else 0
        return self.names[begin : int(self.entries["name_end"][row])].tobytes().decode("utf-8", "surrogateescape")

    def live_rows(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows that count, ascending."""
        return np.delete(np.arange(self.header.rows), self.dropped)

    def named(self) -> Iterator[tuple[int, str]]:
        """Gives the number and the name of each row that counts, in order."""
        names, ends = self.names.tobytes(), self.entries["name_end"]
        for row in self.live_rows().tolist():
            begin = int(ends[row - 1]) if row else 0
            yield row, names[begin : int(ends[row])].decode("utf-8", "surrogateescape")


def load(folder: Path, *, verify: bool = False) -> Snapshot:
    """Maps an index. All but its vectors is compared with its checksums; with `verify` they are, too.

    Raises:
        IndexFileError: there is no index, or it is damaged.
    """
    for _ in range(_TRIES):
        header = read_header(folder)
        try:
            return _mapped(folder, header, verify=verify)
        except FileNotFoundError as error:
            missing = error.filename
    raise IndexFileError(folder, f"damaged: {Path(missing).name} is missing", REMEDY)


def crc32(records: Array, start: int = 0) -> int:
    """CRC-32 of records, a part of a mapped file at a time."""
    found = start
    for part in _parts(records):
        found = zlib.crc32(part.tobytes(), found)
    return found


def _mapped(folder: Path, header: Header, *, verify: bool) -> Snapshot:
    dropped = _map(folder, header, "dropped", DROPPED)
    found = Snapshot(
        folder=folder,
        header=header,
        vectors=_map(folder, header, "vectors", header.record),
        entries=_map(folder, header, "entries", ENTRY),
        names=_map(folder, header, "names", np.dtype(np.uint8)),
        dropped=np.sort(dropped).astype(np.int64),
    )
    checked: dict[Part, Array] = {"entries": found.entries, "names": found.names, "dropped": dropped}
    if verify:
        checked["vectors"] = found.vectors
    fault = _impossible_entries(found) or _impossible_drops(found, dropped)
    for part, content in checked.items():
        if not fault and crc32(content) != header.crc_of(part):
            fault = f"{part_file(part, header.generation)} has another checksum"
    if fault:
        raise IndexFileError(folder, f"damaged: {fault}", REMEDY)
    return found


def _map(folder: Path, header: Header, part: Part, record: np.dtype[Any]) -> Array:
    path, size = folder / part_file(part, header.generation), header.bytes_of(part)
    with open_to_read(path) as file:
        if file.seek(0, 2) < size:
            raise IndexFileError(folder, f"damaged: {path.name} is cut off", REMEDY)
        if not size:  # nothing can be mapped then
            return np.empty((0, *record.shape), record.base)
        mapped: Array = np.memmap(file, record.base, "r", shape=(size // record.itemsize, *record.shape))
        return mapped


def _impossible_entries(found: Snapshot) -> str:
    last = 0
    for part in _parts(found.entries):
        ends = part["name_end"].astype(np.int64)
        lengths = np.diff(ends, prepend=last)
        if lengths.min() < 1 or lengths.max() > NAME_BYTES:
            return "names have impossible lengths"
        last = int(ends[-1])
    return "" if last == found.header.name_bytes else "names have impossible lengths"


def _impossible_drops(found: Snapshot, dropped: Array) -> str:
    if len(dropped) and (dropped.max() >= found.header.rows or (np.diff(found.dropped) == 0).any()):
        return "rows were dropped that are not there"
    return ""


def _parts(records: Array) -> Iterator[Array]:
    step = max(1, _CHECKED_BYTES // max(1, records[:1].nbytes))
    return (records[first : first + step] for first in range(0, len(records), step))
