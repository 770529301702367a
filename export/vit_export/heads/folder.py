"""Finds example photos: a folder for each class, named by its label, with the photos right in it.

    photos/gate open/1.jpg
    photos/gate open/2.jpg
    photos/parcel/a.png

Nothing is opened here. Hidden files and folders are passed over; links to folders count as folders.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_export.errors import ExamplesError
from vit_export.progress import Progress
from vit_export.request import PathLike
from vit_runtime.pictures.naming import counts_as_picture
from vit_runtime.wording import plural

UNKNOWN_LABEL: Final = "none of these"
LEAST_PHOTOS: Final = 2
"""Fewest photos of a class: one to fit to, another one to measure with."""
MOST_PHOTOS: Final = 1000
"""Most photos taken of a class, evenly spread over its names."""
MOST_CLASSES: Final = 1000
REMEDY: Final = "give a folder that holds a folder of photos for each class, named by its label"


@dataclass(frozen=True, kw_only=True)
class ClassFolder:
    """A class, and the photos that show it."""

    label: str
    """The folder's name, in composed letters (NFC), whatever the file system does to them."""
    photos: tuple[Path, ...]


def read_folder(folder: PathLike, progress: Progress, *, unknown: bool = False) -> list[ClassFolder]:
    """Lists the classes, in the order of their labels, and each one's photos, in the order of their names.

    Args:
        folder: holds a folder for each class.
        progress: told of what is passed over.
        unknown: whether there is to be a class of pictures that belong to none.

    Raises:
        ExamplesError: there is no such folder, it holds fewer than two classes or too many, two have one label, or a
            class has no photos.
    """
    root = Path(folder)
    found: dict[str, ClassFolder] = {}
    beside = 0
    for path in _entries(root):
        if not path.is_dir():
            beside += 1
            continue
        label = _label(path)
        if label in found:
            raise ExamplesError(path, f"there is another folder of the label '{label}'", "give each class one folder")
        if unknown and label == UNKNOWN_LABEL:
            raise ExamplesError(path, "has the label of the class for unknown pictures", "rename the folder")
        if len(found) == MOST_CLASSES:
            raise ExamplesError(root, f"holds more than {MOST_CLASSES:,} folders", REMEDY)
        found[label] = ClassFolder(label=label, photos=_photos(path, progress))
    if not found:
        photos = ", only files" if beside else ""
        raise ExamplesError(root, f"holds no folders{photos}", REMEDY)
    if len(found) == 1:
        what = f"holds one class, '{next(iter(found))}': there is nothing to tell apart"
        raise ExamplesError(root, what, "add a folder of photos of what it is not")
    if beside:
        progress.note(f"{root}: {plural(beside, 'file')} beside the folders of the classes passed over")
    return [found[label] for label in sorted(found)]


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden, in order of their names."""
    try:
        if not folder.is_dir():
            raise ExamplesError(folder, "not a folder" if folder.exists() else "no such folder", REMEDY)
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, ExamplesError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ExamplesError(ascii(str(folder)), f"cannot be read ({reason})", REMEDY) from error


def _label(folder: Path) -> str:
    label = unicodedata.normalize("NFC", folder.name)
    try:
        label.encode()
    except UnicodeEncodeError:
        raise ExamplesError(ascii(str(folder)), "has a name that is no UTF-8 text", "rename the folder") from None
    return label


def _photos(folder: Path, progress: Progress) -> tuple[Path, ...]:
    entries = _entries(folder)
    inner = [path for path in entries if path.is_dir()]
    photos = [path for path in entries if counts_as_picture(path.name) and path not in inner]
    if not photos and inner:
        what = f"holds folders ({inner[0].name}), and no photos of its own: a class's photos lie right in its folder"
        raise ExamplesError(folder, what, f"give the folder whose folders are the classes, perhaps {folder}")
    if not photos:
        raise ExamplesError(folder, "holds no photos", "put photos into it, or remove the folder")
    if inner:
        progress.note(f"{folder}: {plural(len(inner), 'folder')} inside a class passed over, with what is in them")
    if len(photos) > MOST_PHOTOS:
        progress.note(f"{folder}: taking {MOST_PHOTOS:,} of {len(photos):,} photos, evenly spread")
        photos = [photos[index * len(photos) // MOST_PHOTOS] for index in range(MOST_PHOTOS)]
    return tuple(photos)
