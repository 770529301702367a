"""What lies in an index's folder: its header, checked, and the records of its files.

A header is replaced as a whole, and the files only grow. What lies in a file behind the part that the header counts was
not finished, and does not belong to the index.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import numpy as np

from vit_runtime.errors import IndexFileError

Numbers = Literal["float32", "int8"]
"""How rows are kept."""
Part = Literal["vectors", "entries", "names", "dropped"]
"""Files of an index: a record a row, an entry a row, all names, the numbers of rows that do not count any more."""
PARTS: Final[tuple[Part, ...]] = get_args(Part)

HEADER_FILE: Final = "index.json"
LOCK_FILE: Final = "lock"
_FORMAT: Final = "vit-edge index"
_VERSION: Final = 1
_SHA256: Final = re.compile("[0-9a-f]{64}")

ENTRY: Final = np.dtype([("name_end", "<u8"), ("size", "<u8"), ("mtime_ns", "<i8")])
"""Where a row's name ends in the file of names, and the size and time of the picture's file; zeros for unknown."""
DROPPED: Final = np.dtype("<u8")
NAME_BYTES: Final = 4_096
"""Most bytes of a name."""
HEADER_BYTES: Final = 16_384
"""Most bytes of a header."""
_MODEL_NAME: Final = 4_096
_MOST: Final[dict[str, int]] = {
    "width": 65_536,
    "generation": 1 << 31,
    "rows": 1 << 32,
    "dropped": 1 << 32,
    "name_bytes": 1 << 44,
}
_LEAST: Final = {"width": 1, "generation": 1}
REMEDY: Final = "make it anew with vit-run index --force"


@dataclass(frozen=True, kw_only=True)
class Header:
    """Everything that an index says about itself."""

    model: str
    """SHA-256 that the model's file carries, in hexadecimal; embeddings of another one cannot be compared."""
    model_name: str
    """What to call that model in messages."""
    width: int
    """Numbers in a row."""
    numbers: Numbers
    generation: int = 1
    """Number in the names of the files; a new one begins when all rows are written anew."""
    rows: int = 0
    """Rows in the files, those that were dropped too."""
    dropped: int = 0
    name_bytes: int = 0
    crc32: tuple[int, ...] = (0,) * len(PARTS)
    """CRC-32 of what counts of each file, in the order of `PARTS`."""

    @property
    def record(self) -> np.dtype[Any]:
        """A row's record: float32 (width,), or a scale and int8 (width,)."""
        if self.numbers == "float32":
            return np.dtype(("<f4", (self.width,)))
        return np.dtype([("scale", "<f4"), ("codes", "i1", (self.width,))])

    def bytes_of(self, part: Part) -> int:
        """How much of a file counts."""
        sizes: dict[Part, int] = {
            "vectors": self.rows * self.record.itemsize,
            "entries": self.rows * ENTRY.itemsize,
            "names": self.name_bytes,
            "dropped": self.dropped * DROPPED.itemsize,
        }
        return sizes[part]

    def crc_of(self, part: Part) -> int:
        """CRC-32 of what counts of a file."""
        return self.crc32[PARTS.index(part)]

    def encode(self) -> bytes:
        """Gives the header file: a line of JSON, and a line with the CRC-32 of that line's text."""
        document = {
            "format": _FORMAT,
            "format_version": _VERSION,
            "byte_order": "little",
            **vars(self),
            "crc32": dict(zip(PARTS, self.crc32, strict=True)),
        }
        line = json.dumps(document).encode()
        return b"%s\n%08x\n" % (line, zlib.crc32(line))


def part_file(part: Part, generation: int) -> str:
    """Gives the name of one of an index's files."""
    return f"{part}-{generation}.bin"


def decode(content: bytes, folder: Path) -> Header:
    """Reads a header file of at most `HEADER_BYTES`.

    Raises:
        IndexFileError: it is no header, is damaged, or of a version that is not known.
    """
    line, _, checksum = content.partition(b"\n")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise IndexFileError(folder, f"its {HEADER_FILE} is none of a vit-edge index", REMEDY)
    if document.get("format_version") != _VERSION:
        what = f"format version {str(document.get('format_version'))[:20]}, and this vit-edge reads {_VERSION}"
        raise IndexFileError(folder, what, REMEDY)
    if document.get("byte_order") != "little":
        raise IndexFileError(folder, f"byte order {str(document.get('byte_order'))[:20]!r}, not 'little'", REMEDY)
    if checksum != b"%08x\n" % zlib.crc32(line):
        raise IndexFileError(folder, f"its {HEADER_FILE} is damaged: another checksum", REMEDY)
    return _header(document, folder)


def _header(document: dict[str, object], folder: Path) -> Header:
    fault = ""
    sums = document.get("crc32")
    if set(document) != {"format", "format_version", "byte_order", *Header.__dataclass_fields__}:
        fault = "other keys than the format has"
    elif not _SHA256.fullmatch(str(document["model"])):
        fault = "'model' is no SHA-256"
    elif not isinstance(document["model_name"], str) or len(document["model_name"]) > _MODEL_NAME:
        fault = "'model_name' is no short text"
    elif document["numbers"] not in get_args(Numbers):
        fault = "'numbers' is neither float32 nor int8"
    elif (
        not isinstance(sums, dict)
        or set(sums) != set(PARTS)
        or not all(_fits(each, 0xFFFFFFFF) for each in sums.values())
    ):
        fault = "'crc32' has no number for each file"
    else:
        wrong = [key for key, most in _MOST.items() if not _fits(document[key], most, _LEAST.get(key, 0))]
        fault = f"'{wrong[0]}' is no number from {_LEAST.get(wrong[0], 0)} to {_MOST[wrong[0]]}" if wrong else ""
    if fault:
        raise IndexFileError(folder, f"its {HEADER_FILE} is damaged: {fault}", REMEDY)
    fields = {key: document[key] for key in Header.__dataclass_fields__}
    return Header(
        **cast("dict[str, Any]", fields | {"crc32": tuple(cast("dict[str, int]", sums)[part] for part in PARTS)})
    )


def _fits(value: object, most: int, least: int = 0) -> bool:
    return type(value) is int and least <= value <= most
