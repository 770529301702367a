"""`Index`: embeddings on the disk that answer which pictures are most like one; and how to open and to make one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, overload

import numpy as np

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import as_path, read_artifact
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.checks import whole_number
from vit_runtime.errors import IndexFileError, OutputFileError, UsageError, one_line, option
from vit_runtime.files import blame
from vit_runtime.searching.growing import begin, delete_others, is_ours
from vit_runtime.searching.layout import HEADER_FILE, REMEDY, Header, Numbers
from vit_runtime.searching.lock import locked
from vit_runtime.searching.nearest import nearest
from vit_runtime.searching.rows import unpack
from vit_runtime.searching.snapshot import Snapshot, load
from vit_runtime.searching.storage import write_header
from vit_runtime.searching.writer import Writer
from vit_runtime.vectors import normalized

_MOST_ROUNDING: Final = 1e-3
"""How far a cosine can be over 1 by rounding."""
_ROWS: Final = 8192
"""Rows that are handed out at a time."""
_ELSEWHERE: Final = "choose another place"
_GIVE: Final = "give embeddings by the model that the index was made with"


class Match(NamedTuple):
    """A picture of an index, and how much it is like the query."""

    name: str
    cosine: float


class Index:
    """Embeddings of pictures on the disk, by name; see `open_index` and `create_index`.

    What another process adds is seen when the index is opened again.
    """

    def __init__(self, path: Path, *, verify: bool = False) -> None:
        self.path = path
        """The index's folder."""
        self._found: Snapshot = load(path, verify=verify)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, {len(self)} x {self.width} {self.numbers}, {self.model_name})"

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self._found.header.width

    @property
    def numbers(self) -> Numbers:
        """How rows are kept: "float32" or "int8"."""
        return self._found.header.numbers

    @property
    def model(self) -> str:
        """The SHA-256 that the model's file carries, in hexadecimal."""
        return self._found.header.model

    @property
    def model_name(self) -> str:
        """What the model is called, and its precision."""
        return self._found.header.model_name

    @property
    def names(self) -> list[str]:
        """Names of the pictures, in the order of the rows."""
        return [name for _, name in self._found.named()]

    @overload
    def search(self, queries: FloatArray, top_k: int = ...) -> list[Match] | list[list[Match]]: ...
    @overload
    def search(self, queries: Sequence[float], top_k: int = ...) -> list[Match]: ...
    def search(self, queries: FloatArray | Sequence[float], top_k: int = 5) -> list[Match] | list[list[Match]]:
        """Gives the pictures most like a query, best first: a list for one row, a list of lists for several.

        Every row is compared, a part of them at a time. An int8 index's cosines are off by 2 % or less for common
        widths (docs/search.md).

        Args:
            queries: an embedding (width,), or several (N, width), of any length other than 0.
            top_k: most pictures for each query.

        Raises:
            UsageError: the queries have another width, are zeros, or have NaN or infinity in them.
            IndexFileError: a row is damaged.
        """
        count = whole_number("top_k", top_k, least=1)
        wanted = self._queries(queries)
        rows = normalized(np.atleast_2d(wanted))
        found = nearest(self._found.vectors, rows, count, self._found.dropped, self._check)
        matches = [
            [Match(self._found.name(row), cosine) for row, cosine in zip(best.tolist(), cosines.tolist(), strict=True)]
            for best, cosines in found
        ]
        return matches[0] if wanted.ndim == 1 else matches

    def vectors(self) -> FloatArray:
        """The rows that belong to `names`, float32 (N, width), each of length 1.

        They are a read-only map of the file where they are kept in float32 and none was dropped, and else a copy.
        """
        if self.numbers == "float32" and not len(self._found.dropped):
            return self._found.vectors
        return np.concatenate([np.empty((0, self.width), np.float32), *(rows for _, rows in self.chunks())])

    def chunks(self) -> Iterator[tuple[list[str], FloatArray]]:
        """Gives all names and rows, some thousands at a time, so that memory stays flat."""
        live = self._found.live_rows()
        for start in range(0, len(live), _ROWS):
            some = live[start : start + _ROWS]
            yield [self._found.name(row) for row in some.tolist()], unpack(self._found.vectors[some])

    def add(self, names: Iterable[str], rows: Iterable[FloatArray]) -> None:
        """Adds a row for each name, float32 (width,), or replaces the one it has. Rows are scaled to length 1.

        Raises:
            UsageError: a row has another width, or NaN or infinity in it; or there are more names than rows, or fewer.
            OutputFileError: another process writes to the index, or the disk takes no more.
        """
        with self.writer() as writer:
            given, rows = iter(names), iter(rows)
            for name in given:
                row = next(rows, None)
                if row is None:
                    raise UsageError(option("rows"), "fewer than names", "give a row for each name")
                writer.put(name, row)
            if next(rows, None) is not None:
                raise UsageError(option("rows"), "more than names", "give a name for each row")
        self.reload()

    def remove(self, names: Iterable[str]) -> int:
        """Drops the rows of names, and says how many there were.

        Raises:
            OutputFileError: another process writes to the index, or the disk takes no more.
        """
        with self.writer() as writer:
            count = sum(writer.remove(name) for name in names)
        self.reload()
        return count

    def writer(self) -> Writer:
        """Gives what adds rows one by one, in a `with` block; they are seen here after `reload`."""
        return Writer(self.path)

    def reload(self) -> None:
        """Looks at what is on the disk now.

        Raises:
            IndexFileError: it is damaged.
        """
        self._found = load(self.path)

    def to_faiss(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as a flat index of FAISS, and the names beside it as lines of JSON in `path`.names.jsonl.

        Raises:
            MissingDependencyError: FAISS is not installed.
            OutputFileError: the files cannot be written.
        """
        from vit_runtime.searching.faiss_file import write_faiss

        write_faiss(self.width, self.chunks(), as_path(path))

    def _queries(self, queries: FloatArray | Sequence[float]) -> FloatArray:
        """Gives float32 (width,) or (N, width)."""
        try:
            with np.errstate(over="ignore"):
                rows = np.asarray(queries, np.float32)
        except (TypeError, ValueError) as error:
            raise UsageError(option("queries"), f"no numbers ({one_line(error)})", _GIVE) from error
        if rows.ndim not in (1, 2) or rows.shape[-1] != self.width:
            what = f"of shape {rows.shape}, and this index has rows of ({self.width},)"
            raise UsageError(option("queries"), what, _GIVE)
        if not np.isfinite(rows).all() or not rows.any(axis=-1).all():
            raise UsageError(option("queries"), "has a row of zeros, NaN or infinity", _GIVE)
        return rows

    def _check(self, start: int, cosines: FloatArray) -> None:
        """Refuses rows that no writer wrote: every cosine is a number from -1 to 1."""
        wrong = np.flatnonzero(~(np.abs(cosines) <= 1 + _MOST_ROUNDING).all(axis=1))
        if len(wrong):
            raise IndexFileError(self.path, f"damaged: row {start + wrong[0]} has not length 1", REMEDY)


def open_index(
    path: str | os.PathLike[str], model: str | os.PathLike[str] | None = None, *, verify: bool = False
) -> Index:
    """Opens an index. Its rows are mapped, and read where they are needed.

    Args:
        path: the index's folder.
        model: a model's file, as `vit_runtime.load` takes it. The index has to be made with that very file.
        verify: whether to read all rows, and to compare them with their checksum. The rest is compared always.

    Raises:
        IndexFileError: there is no index, it is damaged, or it was made with another model.
        ArtifactError: the model's file cannot be used.
    """
    index = Index(as_path(path), verify=verify)
    if model is not None and index.model != stored_digest(as_path(model)):
        artifact = read_artifact(as_path(model))
        what = f"made with another model, {index.model_name} of SHA-256 {index.model[:12]}..."
        mine = f"{model} is {artifact.model} {artifact.precision}"
        raise IndexFileError(index.path, f"{what}; {mine}", f"give that one, or {REMEDY}")
    return index


def create_index(
    path: str | os.PathLike[str], model: str | os.PathLike[str], *, int8: bool = False, force: bool = False
) -> Index:
    """Makes an index without rows.

    Args:
        path: the index's folder, which is made; the folder that it lies in must be there.
        model: the file of the model whose embeddings will be added.
        int8: whether rows are kept in int8 with a scale each: a quarter of the room.
        force: whether to replace an index that is there.

    Raises:
        ArtifactError: the model's file cannot be used.
        OutputFileError: the folder cannot be made, holds something else, or an index is there already.
    """
    folder, file = as_path(path), as_path(model)
    artifact = read_artifact(file)
    header = Header(
        model=stored_digest(file),
        model_name=f"{artifact.model} {artifact.precision}",
        width=artifact.architecture.embedding_width,
        numbers="int8" if int8 else "float32",
    )
    with blame(folder, _ELSEWHERE):
        folder.mkdir(exist_ok=True)
        if not is_ours(folder):
            raise OutputFileError(folder, "holds something else than an index", _ELSEWHERE)
    with locked(folder):
        if (folder / HEADER_FILE).exists() and not force:
            raise OutputFileError(folder, "exists already", f"add {option('force', value=True)} to replace it")
        empty = begin(folder, header)
        write_header(folder, empty)
        delete_others(folder, empty)
    return Index(folder)
