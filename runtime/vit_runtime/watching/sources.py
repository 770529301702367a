"""What can be watched: a camera's number or device, a video file, an HTTP or an RTSP address."""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from vit_runtime.errors import ImageError

Kind = Literal["camera", "file", "http", "rtsp"]

_REMEDY: Final = "give a camera's number, a video file, or an rtsp, rtsps, http or https address"
_KINDS: Final[dict[str, Kind]] = {"http": "http", "https": "http", "rtsp": "rtsp", "rtsps": "rtsp"}
"""What an address is, by its scheme."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.,-]+):")
"""Two letters at least, since one is a drive of Windows."""
_USER: Final = re.compile(r"(//[^:@]*):.*@")
"""A user's name, and the password up to the last @ there is, since some people's passwords have one too."""
_SECRET: Final = re.compile(r"([?&;][^=&]*(?:pass|pwd|token|key|auth|secret|sig)[^=&]*=)[^&#]*", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")
"""Also ends of lines, which would put lines of their own into the request."""


@dataclass(frozen=True)
class Source:
    """Something to watch."""

    kind: Kind
    address: str
    """What is opened: a path, or an address with its password."""
    shown: str
    """What it is called in messages: the same without passwords."""

    @property
    def is_live(self) -> bool:
        """Whether frames come by themselves and are gone when nobody takes them."""
        return self.kind != "file"


def parse_source(source: str | int | os.PathLike[str]) -> Source:
    """Tells what a source is, by its spelling and, for a path, by what lies there.

    Raises:
        ImageError: it is nothing that can be watched.
    """
    text = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else str(source)
    if text.isdecimal():
        return _camera(f"/dev/video{int(text)}", f"camera {int(text)}")
    if not text:
        raise ImageError("''", "an empty name", _REMEDY)
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() in _KINDS:
        return _address(text, _KINDS[scheme[1].lower()])
    try:
        status = Path(text).stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        if scheme is not None:
            raise ImageError(masked(text), f"{scheme[1]} is not read here", _REMEDY) from None
        what = "no such camera" if text.startswith("/dev/") else "no such file"
        raise ImageError(text, what, _REMEDY) from None
    if stat.S_ISCHR(status.st_mode):
        return _camera(text, text)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(text, "neither a file nor a camera", _REMEDY)
    if status.st_size == 0:
        raise ImageError(text, "empty file")
    return Source("file", text, text)


def masked(address: str) -> str:
    """An address without what should not stand in a log: the password, and values of a query that look like secrets.

    >>> masked("rtsp://user:secret@host/live?token=abc&channel=1")
    'rtsp://user:***@host/live?token=***&channel=1'
    """
    return _SECRET.sub(r"\1***", _USER.sub(r"\1:***@", address))


def _camera(path: str, shown: str) -> Source:
    if not sys.platform.startswith("linux"):
        raise ImageError(shown, "cameras at this machine are read on Linux only", "give an address or a video file")
    if not Path(path).exists():
        raise ImageError(shown, f"there is no {path}", "`ls /dev/video*` lists the cameras of this machine")
    return Source("camera", path, shown)


def _address(text: str, kind: Kind) -> Source:
    shown = masked(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ImageError(shown, "not a well-formed address", "write user, password and path with %-escapes") from None
    if not parts.hostname or port == 0 or _UNPRINTABLE.search(text):
        raise ImageError(shown, "not a well-formed address", f"write {parts.scheme}://HOST/PATH")
    # FFmpeg knows protocols by their names in small letters alone.
    return Source(kind, parts.scheme + text[len(parts.scheme) :], shown)
