"""The cache folder, and the folders in it: one for each kind of what can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "VIT_EDGE_CACHE"
"""Environment variable that names another folder."""
PROFILES: Final = "profiles"
"""Folder of what `vit-run tune` found fastest."""
ENGINES: Final = "engines"
"""Folder of what providers have compiled."""
COPIES: Final = "prepared"
"""Folder of the copies by `vit-run prepare`."""


def cache_folder() -> Path:
    """Gives the user's cache folder for vit-edge, which may not exist yet.

    It follows the XDG Base Directory Specification on Linux, and the makers' conventions on macOS and Windows.
    """
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own)
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "vit-edge"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local") / "vit-edge" / "Cache"
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else _home() / ".cache") / "vit-edge"


def make_folder(folder: Path) -> None:
    """Makes a folder in the cache folder, which only its owner may read and write.

    Raises:
        OSError: it cannot be made.
    """
    top = cache_folder()
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in folder.relative_to(top).parts:  # `parents=True` would give those between the usual mode
        top /= part
        top.mkdir(mode=0o700, exist_ok=True)


def _home() -> Path:
    """The user's home; a service without one gets a path that cannot be written, as its own folder should not be."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)
