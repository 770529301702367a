"""Writes rows to the ends of an index's files, copies an index without what was dropped, and tidies its folder."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from vit_runtime.files import blame
from vit_runtime.searching.layout import DROPPED, ENTRY, HEADER_FILE, LOCK_FILE, PARTS, Header, Part, part_file
from vit_runtime.searching.snapshot import Array, load
from vit_runtime.searching.storage import ELSEWHERE, write_at, write_header

_ROWS: Final = 4096
"""Rows that are copied at a time."""
_PART_FILES: Final = re.compile(rf"(?:{'|'.join(PARTS)})-([1-9][0-9]{{0,8}})\.bin")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to append, and numbers of rows to drop."""

    records: bytes = b""
    names: Sequence[bytes] = ()
    stamps: Sequence[tuple[int, int]] = ()
    """Size and time of each picture's file."""
    drops: Sequence[int] = ()


def append(folder: Path, header: Header, rows: Rows) -> Header:
    """Writes behind what a header counts, and gives the header that counts this, too. Whoever calls holds the lock.

    Nothing belongs to the index until `write_header` has written that header.

    Raises:
        OutputFileError: the disk takes no more.
    """
    entries = np.zeros(len(rows.names), ENTRY)
    lengths = [len(name) for name in rows.names]
    entries["name_end"] = header.name_bytes + np.cumsum(lengths, dtype=np.uint64)
    if rows.stamps:
        entries["size"], entries["mtime_ns"] = zip(*rows.stamps, strict=True)
    parts: dict[Part, bytes] = {
        "vectors": rows.records,
        "entries": entries.tobytes(),
        "names": b"".join(rows.names),
        "dropped": np.array(rows.drops, DROPPED).tobytes(),
    }
    with blame(folder, ELSEWHERE):
        for part, data in parts.items():
            write_at(folder / part_file(part, header.generation), header.bytes_of(part), data)
    return replace(
        header,
        rows=header.rows + len(entries),
        dropped=header.dropped + len(rows.drops),
        name_bytes=header.name_bytes + sum(lengths),
        crc32=tuple(zlib.crc32(parts[part], header.crc_of(part)) for part in PARTS),
    )


def begin(folder: Path, header: Header) -> Header:
    """Gives a header of no rows and of a generation whose files are new and empty.

    Raises:
        OutputFileError: the disk takes no more.
    """
    used = (int(found[1]) for file in folder.iterdir() if (found := _PART_FILES.fullmatch(file.name)))
    empty = replace(
        header, generation=max(used, default=0) + 1, rows=0, dropped=0, name_bytes=0, crc32=(0,) * len(PARTS)
    )
    return append(folder, empty, Rows())


def compact(folder: Path) -> None:
    """Writes the rows that count into new files, and deletes the old ones; whoever calls holds the lock.

    Raises:
        OutputFileError: the disk takes no more; the index is as it was before.
    """
    old = load(folder)
    header, live = begin(folder, old.header), old.live_rows()
    for start in range(0, len(live), _ROWS):
        some = live[start : start + _ROWS]
        entries: Array = old.entries[some]
        rows = Rows(
            old.vectors[some].tobytes(),
            [old.name(row).encode("utf-8", "surrogateescape") for row in some.tolist()],
            list(zip(entries["size"].tolist(), entries["mtime_ns"].tolist(), strict=True)),
        )
        header = append(folder, header, rows)
    write_header(folder, header)
    delete_others(folder, header)


def delete_others(folder: Path, header: Header) -> None:
    """Deletes files of other generations, as far as the system lets it: on Windows another process may map them."""
    for file in folder.iterdir():
        found = _PART_FILES.fullmatch(file.name)
        if found and int(found[1]) != header.generation:
            with contextlib.suppress(OSError):
                file.unlink()


def is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing but what an index has, perhaps one whose making was cut short."""
    ours = {HEADER_FILE, f"{HEADER_FILE}.new", LOCK_FILE}
    return all(file.name in ours or _PART_FILES.fullmatch(file.name) for file in folder.iterdir())
