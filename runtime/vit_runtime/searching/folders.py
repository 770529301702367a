"""Which path a picture of an index has, and what a path is called in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class Folders:
    """Turns paths into an index's names, and back.

    What lies in the folder that holds the index, or below, is named from there: index and pictures can be moved
    together, and be found from any folder. Other pictures have absolute names.
    """

    def __init__(self, index: Path) -> None:
        self._parent = index.parent
        self._absolute = Path(os.path.abspath(index.parent))  # noqa: PTH100 - links stay, unlike by Path.resolve

    def name(self, path: Path) -> str:
        """The name of a picture, with / between folders."""
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - as above
        inside = absolute.is_relative_to(self._absolute)
        return (absolute.relative_to(self._absolute) if inside else absolute).as_posix()

    def path(self, name: str) -> Path:
        """The path of a picture, as the index's own path was given: from the current folder, or absolute."""
        return self._parent / name

    def is_below(self, name: str, folders: Sequence[Path]) -> bool:
        """Whether a name is that of one of these paths, or of something in one of them."""
        path = self._absolute / name
        return any(path.is_relative_to(os.path.abspath(folder)) for folder in folders)  # noqa: PTH100 - as above
