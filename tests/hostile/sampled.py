"""A command as a process of its own, watched from outside: its memory, open files and threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

WORD = "VmRSS:"
PEAK = "VmHWM:"


@dataclass(frozen=True)
class Sample:
    """What a process has at a moment; Linux tells."""

    resident: int
    """Bytes of memory."""
    peak: int
    """Most of them so far."""
    files: int
    threads: int


def sample(process: int) -> Sample | None:
    """What a process has; None where it has ended."""
    place = Path("/proc") / str(process)
    try:
        status = (place / "status").read_text(encoding="ascii", errors="replace")
        files = sum(1 for _ in (place / "fd").iterdir())
        threads = sum(1 for _ in (place / "task").iterdir())
        resident, peak = (int(status.split(word)[1].split()[0]) << 10 for word in (WORD, PEAK))
    except (OSError, IndexError):
        return None
    return Sample(resident, peak, files, threads)


def start(words: Sequence[object], *, stdout: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts `vit-run`; its stdin is a pipe."""
    command = [str(Path(sys.executable).with_name("vit-run")), *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)
