"""The right answers for a folder of photos: from a table, or from the names of its folders."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_bench.errors import PhotosError
from vit_runtime.pictures.formats import PICTURE_SUFFIXES
from vit_runtime.sources.folders import pictures_below

TABLE: Final = "labels.csv"
"""Name of the table that is looked for in the folder itself."""
_SYNSETS: Final = Path(__file__).parent / "imagenet_synsets.txt"
"""WordNet's ids of the 1000 classes of ImageNet-1k (ILSVRC 2012), in the order of their indices."""
_REMEDY: Final = f"put a {TABLE} with lines of file,class beside the photos, or sort them into a folder for each class"


@dataclass(frozen=True, kw_only=True)
class LabelledPhotos:
    """Photos and the index of the class that each shows."""

    paths: tuple[Path, ...]
    classes: tuple[int, ...]
    origin: str
    """Where the classes came from, in words."""


def find_photos(folder: Path, labels: Sequence[str] | None, classes: int, *, table: Path | None) -> LabelledPhotos:
    """Finds photos and their right answers.

    A table has lines of a file (relative to the table's own folder) and its class, with or without a heading. A folder
    has one folder a class, as ImageNet has. A class is an index, one of the model's labels, or an ImageNet id
    (n01440764). Where the folders are called otherwise and are as many as the classes, their alphabetical order counts,
    as for torchvision's ImageFolder.

    Args:
        folder: where the photos are.
        labels: the model's class names, where it has any.
        classes: how many it has.
        table: the table; None for `labels.csv` in the folder, if there is one.

    Raises:
        PhotosError: there are no photos or no classes, or the classes are not the model's.
    """
    if not folder.is_dir():
        raise PhotosError(folder, "no such folder", "give a folder of photos")
    if table is None and (folder / TABLE).is_file():
        table = folder / TABLE
    names = _ClassNames(labels, classes)
    return _from_folders(folder, names) if table is None else _from_table(table, names)


class _ClassNames:
    """Which index a written class has."""

    def __init__(self, labels: Sequence[str] | None, classes: int) -> None:
        self.classes = classes
        self._indices: dict[str, int | None] = {str(index): index for index in range(classes)}
        if classes == len(synsets := _SYNSETS.read_text(encoding="ascii").split()):
            self._indices |= {name: index for index, name in enumerate(synsets)}
        for index, label in enumerate(labels or ()):
            # A name that two classes share (ImageNet has a jacket and a dog called cardigan) says nothing.
            same = self._indices.get(_plain(label), index) == index
            self._indices[_plain(label)] = index if same else None

    def index(self, name: str) -> int | None:
        """The number of a class by its name; None for what is no class."""
        return self._indices.get(_plain(name))

    def indices(self, names: Sequence[str], where: Path) -> dict[str, int]:
        """The index of each name; raises for those that are no class."""
        found = {name: index for name in names if (index := self.index(name)) is not None}
        if unknown := [name for name in names if name not in found]:
            raise PhotosError(
                where,
                f"{len(unknown)} of {len(names)} class names match none of the model's {self.classes} ('{unknown[0]}')",
                "name classes by index, by the model's labels (vit-run info --json), or by ImageNet's ids",
            )
        return found


def _from_table(table: Path, names: _ClassNames) -> LabelledPhotos:
    rows = _rows(table)
    known = names.indices(list(dict.fromkeys(row[1] for row in rows)), table)
    paths = [table.parent / file for file, _ in rows]
    if missing := [path for path in paths if not path.is_file()]:
        raise PhotosError(table, f"names {missing[0].name}, which is not there ({len(missing)} such)", "mend the table")
    return LabelledPhotos(
        paths=tuple(paths), classes=tuple(known[name] for _, name in rows), origin=f"table of {len(rows)} photos"
    )


def _rows(table: Path) -> list[tuple[str, str]]:
    """File and class of each line; a heading is left out."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PhotosError(table, f"cannot be read ({error})", "give a table of file,class") from error
    rows = [(line[0].strip(), line[1].strip() if len(line) > 1 else "") for line in lines]
    if rows and Path(rows[0][0]).suffix.lower() not in PICTURE_SUFFIXES and not (table.parent / rows[0][0]).is_file():
        rows = rows[1:]
    if not rows:
        raise PhotosError(table, "has no lines", _REMEDY)
    if short := [number for number, (_, name) in enumerate(rows, start=1) if not name]:
        raise PhotosError(table, f"photo {short[0]} has no class", "write lines of file,class")
    return rows


def _from_folders(folder: Path, names: _ClassNames) -> LabelledPhotos:
    by_class = {
        entry.name: pictures_below(entry)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    by_class = {name: pictures for name, pictures in by_class.items() if pictures}
    if not by_class:
        found = "photos without labels" if pictures_below(folder) else "no photos"
        raise PhotosError(folder, found, _REMEDY)
    if len(by_class) == names.classes and not any(names.index(name) is not None for name in by_class):
        indices: Mapping[str, int] = {name: index for index, name in enumerate(by_class)}
        origin = f"{len(by_class)} folders, in alphabetical order"
    else:
        indices = names.indices(list(by_class), folder)
        origin = f"names of {len(by_class)} folders"
    pairs = [(path, indices[name]) for name, pictures in by_class.items() for path in pictures]
    return LabelledPhotos(
        paths=tuple(path for path, _ in pairs), classes=tuple(index for _, index in pairs), origin=origin
    )


def _plain(name: str) -> str:
    """A class name as people write it in folders: great_white_shark is "great white shark"."""
    return " ".join(name.replace("_", " ").casefold().split())
