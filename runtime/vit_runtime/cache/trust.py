"""Whether a folder of the cache is its user's alone.

Whoever can write there can change answers. So nothing is taken from a folder that another user could have written to,
as OpenSSH takes no key from one (`StrictModes` in sshd_config(5)).
"""

from __future__ import annotations

import os
import stat
from itertools import chain
from pathlib import Path

from vit_runtime.cache.folder import cache_folder


def why_untrusted(folder: Path) -> str:
    """Says why what lies in a folder of the cache is not to be trusted; empty where it is.

    The folder, those around it and the files in it have to belong to this process's user or to root, and others may
    not write to them. The user's private group, which has the user's own number, may: distributions and volumes of
    containers have it so. On Windows, where the cache folder lies in the user's profile, everything is trusted.

    Raises:
        OSError: the folder cannot be looked at.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return ""
    top = cache_folder().resolve()
    inside = top / folder.relative_to(cache_folder())
    own = [inside, *(each for each in inside.parents if each == top or top in each.parents)]
    problems = chain(
        (_owner(path) or _writable(path) for path in own),
        (_owner(path) or _writable_around(path) for path in top.parents),
        (_owner(path) or _writable_inside(path, inside) for path in inside.iterdir()),
    )
    return next(filter(None, problems), "")


def _owner(path: Path) -> str:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a link"
    return "" if status.st_uid in (os.geteuid(), 0) else f"{path} belongs to another user"


def _writable(path: Path) -> str:
    status = path.lstat()
    private = status.st_gid == os.getegid() == os.geteuid()
    others = status.st_mode & (stat.S_IWOTH if private else stat.S_IWGRP | stat.S_IWOTH)
    return f"other users may write to {path}" if others else ""


def _writable_around(path: Path) -> str:
    """In a folder like /tmp, which is sticky, nobody can rename what belongs to others."""
    return "" if path.lstat().st_mode & stat.S_ISVTX else _writable(path)


def _writable_inside(path: Path, folder: Path) -> str:
    """What lies in a folder that is closed to others cannot be reached by them, whatever its own mode says."""
    return _writable(path) if folder.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) else ""
