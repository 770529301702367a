"""Stand-ins for the programs that picture libraries start: each leaves a mark in place of doing anything."""

from __future__ import annotations

import os
from pathlib import Path

PROGRAMS = (
    *("gs", "gswin64c", "gswin32c", "convert", "magick", "identify", "ffmpeg", "ffprobe", "djpeg", "cjpeg", "wmf2eps"),
    *("dcraw", "rsvg-convert", "inkscape", "pdftoppm", "giftopnm", "tifftopnm", "cwebp", "dwebp", "unzip", "curl"),
    *("wget", "xv", "display", "open", "xdg-open"),
)


class Stubs:
    """A folder of stand-ins, to be put first in PATH."""

    def __init__(self, folder: Path) -> None:
        self.marks = folder / "marks"
        programs = folder / "programs"
        programs.mkdir(parents=True)
        for name in PROGRAMS:
            stub = programs / name
            stub.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.marks}"\nexit 1\n', encoding="utf-8")
            stub.chmod(0o755)
        self.path = os.pathsep.join([str(programs), os.environ.get("PATH", "")])

    def started(self) -> str:
        """What was started since the last time; empty where nothing was."""
        if not self.marks.exists():
            return ""
        text = self.marks.read_text(encoding="utf-8")
        self.marks.unlink()
        return text
