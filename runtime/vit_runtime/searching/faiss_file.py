"""Writes an index of FAISS, for those who search among more pictures than one machine compares one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vit_runtime.arrays import FloatArray
from vit_runtime.errors import MissingDependencyError, OutputFileError, one_line
from vit_runtime.files import blame, staging_folder

_NAMES: Final = ".names.jsonl"
_ELSEWHERE: Final = "choose another place"


def write_faiss(width: int, chunks: Iterable[tuple[list[str], FloatArray]], path: Path) -> None:
    """Writes rows as FAISS's `IndexFlatIP`, and their names, in the same order, into a file beside it.

    FAISS holds all rows in memory: 4 bytes a number.

    Raises:
        MissingDependencyError: FAISS is not installed.
        OutputFileError: the files cannot be written.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError("faiss", "vit-edge[faiss]") from error
    flat = faiss.IndexFlatIP(width)
    beside = path.with_name(path.name + _NAMES)
    with staging_folder(path, _ELSEWHERE) as folder, blame(path, _ELSEWHERE):
        with (folder / "names").open("w", encoding="utf-8") as file:
            for names, rows in chunks:
                flat.add(rows)
                file.writelines(f"{json.dumps(name)}\n" for name in names)
        try:
            faiss.write_index(flat, str(folder / "rows"))
        except RuntimeError as error:
            raise OutputFileError(path, f"FAISS cannot write it ({one_line(error)})", _ELSEWHERE) from error
        (folder / "names").replace(beside)
        (folder / "rows").replace(path)
