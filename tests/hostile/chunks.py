"""Runs files through `worker.py`, so many in one process, and judges what it wrote down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
WARM_UP = "0000_sound"
"""The sound file that a process begins with: what it imports late counts for no other."""
CHUNK_SECONDS = 300
"""For a process with 100 files: on a busy machine they take a tenth of it."""
SHOWN = 600
"""Letters of a message or of the end of a traceback."""
KEPT_VARIABLE = "VIT_EDGE_HOSTILE_KEEP"
"""Environment variable with a folder into which files that were at fault are copied."""


@dataclass(frozen=True)
class Result:
    """What came of one file."""

    case: str
    outcome: str
    """"answered", "refused by SomeError", "broken", "killed" or "hung"."""
    words: str = ""
    seconds: float = 0.0
    bytes: int = 0
    """Growth of resident memory to its peak."""
    programs: tuple[str, ...] = ()
    """That were started."""
    pixels: int = 0
    """That a picture says it has, as far as Pillow believes it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a file may cost."""

    bytes: int
    """Growth of memory, whatever the file says."""
    seconds: float
    bytes_per_pixel: int = 0
    """More growth of memory, for each pixel that a picture says it has."""
    errors: tuple[str, ...]
    """Classes that may refuse it; empty is any of ours."""


def run_worker(kind: str, folder: Path, *, seconds: float = CHUNK_SECONDS) -> tuple[list[Result], str]:
    """What came of each file or folder in `folder`, and what the process printed beside."""
    report = folder.with_name(f"{folder.name}.{kind}.jsonl")
    report.write_text("", encoding="utf-8")
    command = [sys.executable, "-I", str(WORKER), kind, str(folder), str(report)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        printed, _ = process.communicate(timeout=seconds)
        end = "killed"
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
        end = "hung"
    text = printed.decode(errors="backslashreplace")
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    results = [Result(**line | {"programs": tuple(line["programs"])}) for line in lines if "case" in line]
    if process.returncode != 0:
        begun = lines[-1].get("begun") if lines else None
        what = f"exit status {process.returncode}; {text[-600:]}"
        results.append(Result(begun or "the process itself", end, what))
    return results, text


def in_chunks(cases: Iterable[tuple[str, Mapping[str, bytes]]], size: int, folder: Path) -> Iterator[Path]:
    """Writes cases of named files, `size` of them at a time, into a folder that is emptied for the next ones."""
    left = iter(cases)
    while chunk := list(islice(left, size)):
        shutil.rmtree(folder, ignore_errors=True)
        for name, files in chunk:
            for file, content in files.items():
                target = folder / name / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        yield folder


def faults(results: Iterable[Result], limits: Limits) -> list[str]:
    """One line for each file that did what none may do."""
    return [f"{result.case}: {problem}" for result in results for problem in _problems(result, limits)]


def _problems(result: Result, limits: Limits) -> Iterator[str]:
    refused, _, error = result.outcome.partition(" by ")
    if refused not in ("answered", "refused"):
        yield f"{result.outcome}: {result.words[-SHOWN:]}"
    if refused == "refused" and limits.errors and error not in limits.errors:
        yield f"{result.outcome}: {result.words}"
    if refused == "refused" and len(result.words.splitlines()) != 1:
        yield f"a message that is not one line: {result.words!r}"
    if result.programs:
        yield f"started {', '.join(result.programs)}"
    if result.case == WARM_UP:
        return
    if result.seconds > limits.seconds:
        yield f"took {result.seconds:.1f} s, {result.outcome} {result.words}"
    if result.bytes > limits.bytes + limits.bytes_per_pixel * result.pixels:
        yield f"took {result.bytes >> 20} MiB for {result.pixels:,} pixels, {result.outcome} {result.words}"


def keep(folder: Path, found: Iterable[str]) -> None:
    """Copies what was at fault to where the user wants it."""
    target = os.environ.get(KEPT_VARIABLE)
    for line in found if target else ():
        source, copy = folder / line.partition(":")[0], Path(target or "") / line.partition(":")[0]
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copy(source, copy)
