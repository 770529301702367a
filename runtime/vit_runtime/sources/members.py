"""Names the pictures in an archive, and leaves out what is none."""

from __future__ import annotations

import re
from typing import Final

from vit_runtime.errors import ImageError
from vit_runtime.pictures.naming import counts_as_picture
from vit_runtime.sources.source import Found, failure

LONGEST_NAME: Final = 4096
"""Most characters of a member's name; what systems take as a path."""
MOST_NAMES: Final = 1 << 20
"""Names of an archive that are remembered, to tell repeated ones: some 100 MB at most."""
_SHOWN: Final = 100
_DRIVE: Final = re.compile("[A-Za-z]:")
_MAC_FOLDER: Final = "__MACOSX"


class Members:
    """Tells which members of one archive are pictures, and what answers call them.

    Pictures are told by suffix, as in folders. A name that occurs again gets "#2" behind it, then "#3": all are
    answered, since nobody can tell which of them was meant. Of an archive with more than `MOST_NAMES` pictures, the
    names after these are not compared.

    Args:
        archive: what answers call the archive.
        most_bytes: most bytes of a picture.
    """

    def __init__(self, archive: str, most_bytes: int) -> None:
        self.archive = archive
        self.most_bytes = most_bytes
        self._times: dict[int, int] = {}

    def picture(self, name: str) -> str | Found | None:
        """Gives what to call a member that is a picture, a record where its name is refused, None for other members.

        Names that are absolute or lead upwards are refused. Nothing is ever written by them, but an archive that has
        them is not what its maker says.
        """
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not parts or not counts_as_picture(parts[-1]):
            return None
        if len(name) > LONGEST_NAME:
            called = self._once(f"{self.archive}/{name[:_SHOWN]}...")
            return failure(called, f"a name of {len(name):,} characters")
        if name.startswith("/") or ".." in parts or _DRIVE.fullmatch(parts[0]):
            return failure(self._once(f"{self.archive}/{name}"), "a name that leads out of the archive")
        if any(part.startswith(".") or part == _MAC_FOLDER for part in parts[:-1]):
            return None
        return self._once(f"{self.archive}/{'/'.join(parts)}")

    def _once(self, name: str) -> str:
        key = hash(name)
        times = self._times.get(key, 0) + 1
        if times > 1 or len(self._times) < MOST_NAMES:
            self._times[key] = times
        return name if times == 1 else f"{name}#{times}"


def too_large(name: str, most: int) -> ImageError:
    """The error of a picture with more than `most` bytes."""
    return ImageError(name, f"has more than {most:,} bytes", "scale it down first")
