"""Reads and writes an index as docs/search.md specifies it, without any of our code; and makes rows for one."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vit_runtime.arrays import FloatArray

PARTS = ("vectors", "entries", "names", "dropped")


def header_of(folder: Path) -> dict[str, Any]:
    line, checksum, end = (folder / "index.json").read_bytes().split(b"\n")
    assert end == b""
    assert int(checksum, 16) == zlib.crc32(line)
    return json.loads(line)


def write_header(folder: Path, document: object) -> None:
    line = document if isinstance(document, bytes) else json.dumps(document).encode()
    (folder / "index.json").write_bytes(line + b"\n" + f"{zlib.crc32(line):08x}\n".encode())


def seal(folder: Path, **changes: object) -> None:
    """Gives the header the checksums of the files as they are now, and changes keys of it."""
    document = header_of(folder)
    for part in PARTS:
        document["crc32"][part] = zlib.crc32((folder / f"{part}-{document['generation']}.bin").read_bytes())
    write_header(folder, document | changes)


def write_index(folder: Path, rows: dict[str, FloatArray], model: str = "0" * 64) -> None:
    """Writes a float32 index of rows of length 1."""
    names = [name.encode() for name in rows]
    ends = np.cumsum([len(name) for name in names]).tolist()
    contents = {
        "vectors": b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows.values()),
        "entries": b"".join(struct.pack("<QQq", end, 7, -8) for end in ends),
        "names": b"".join(names),
        "dropped": b"",
    }
    folder.mkdir()
    for part, content in contents.items():
        (folder / f"{part}-1.bin").write_bytes(content)
    document = {
        "format": "vit-edge index",
        "format_version": 1,
        "byte_order": "little",
        "model": model,
        "model_name": "tiny fp32",
        "width": len(next(iter(rows.values()))),
        "numbers": "float32",
        "generation": 1,
        "rows": len(rows),
        "dropped": 0,
        "name_bytes": len(contents["names"]),
        "crc32": {part: zlib.crc32(content) for part, content in contents.items()},
    }
    write_header(folder, document)


def read_index(folder: Path) -> dict[str, FloatArray]:
    """Reads the rows that count; int8 is turned into float32."""
    header = header_of(folder)
    files = {part: (folder / f"{part}-{header['generation']}.bin").read_bytes() for part in PARTS}
    dropped = {number for (number,) in struct.iter_unpack("<Q", files["dropped"][: 8 * header["dropped"]])}
    width, begin, rows = header["width"], 0, {}
    for number in range(header["rows"]):
        end, _, _ = struct.unpack_from("<QQq", files["entries"], 24 * number)
        name, begin = files["names"][begin:end].decode(), end
        if number in dropped:
            continue
        assert name not in rows
        if header["numbers"] == "float32":
            rows[name] = np.array(struct.unpack_from(f"<{width}f", files["vectors"], 4 * width * number), np.float32)
        else:
            scale, *codes = struct.unpack_from(f"<f{width}b", files["vectors"], (4 + width) * number)
            rows[name] = np.array(codes, np.float32) * np.float32(scale)
    return rows


def unit(rows: FloatArray) -> FloatArray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_rows(count: int, width: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
