"""The command lines as processes of their own, with stand-ins for other programs, and what they may print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Container
from pathlib import Path

from .stubs import Stubs

SECONDS = 300
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What moves a cursor, colours a screen or turns writing around; all but the end of a line."""


def run(
    command: str, *words: object, stubs: Stubs, statuses: Container[int] = (0, 1)
) -> subprocess.CompletedProcess[str]:
    """Runs `vit-run` or `vit-export`; it must have started no program and printed nothing that a terminal obeys."""
    done = subprocess.run(
        [Path(sys.executable).with_name(command), *map(str, words)],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, "PATH": stubs.path, "COLUMNS": "200"},
        timeout=SECONDS,
        check=False,
    )
    assert stubs.started() == ""
    assert done.returncode in statuses, f"exit status {done.returncode}: {done.stderr[-2000:]}"
    assert CONTROLS.findall(done.stdout + done.stderr) == []
    assert "bug in vit-edge" not in done.stderr, done.stderr
    return done


def unlike(pattern: str, text: str) -> list[str]:
    """The lines of a text that are not what they should be."""
    return [line for line in text.splitlines() if not re.fullmatch(pattern, line)]
