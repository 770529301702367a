"""Twenty thousand pictures through one process: memory, open files and threads near the start and at the end.

    python -m tests.hostile.soak MODEL.onnx PICTURES [COUNT]

names each picture of a folder again and again, by links, in a tar archive and on stdin, breaks one in fifty, and
prints what it found as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from .sampled import Sample, sample, start

EVERY: Final = 50
"""One in so many pictures is cut in half."""
EARLY: Final = 0.1
"""Share of the pictures after which memory must not grow any more."""
STILL: Final = 2.0
"""Seconds that a process is left alone before the last look."""


@dataclass(frozen=True)
class Soaked:
    """What a long run showed."""

    early: Sample
    end: Sample
    status: int
    records: Counter[str]
    """How many answers and errors each name got."""
    errors: int
    seconds: float
    stderr: str


def soak(model: Path, pictures: Sequence[Path], count: int, folder: Path, words: Sequence[str] = ()) -> Soaked:
    """Runs `vit-run classify` over a folder, a tar archive and a list on stdin, a third of the pictures each."""
    place, archive, listed, names = folder / "place", folder / "pictures.tar", folder / "listed", {}
    third = count // 3
    names |= _linked(pictures, place, third)
    names |= {f"{archive}/{name}": 1 for name in _packed(pictures, archive, third)}
    paths = list(_linked(pictures, listed, count - 2 * third))
    output = folder / "answers.jsonl"
    began = time.monotonic()
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        command = ["classify", model, place, archive, "-", "--top", 1, "-o", output, *words]
        process = start(command, stdout=out, stderr=err)
        try:
            early = _when(process, lambda: _lines(output) >= EARLY * count)
            assert process.stdin is not None
            for path in paths:
                process.stdin.write(os.fsencode(path) + b"\n")
            process.stdin.flush()
            _when(process, lambda: _lines(output) >= count)
            time.sleep(STILL)
            end = _when(process, lambda: True)
            process.stdin.close()
            status = process.wait(60)
        finally:
            process.kill()
    lines = [json.loads(line) for line in output.read_bytes().splitlines()]
    seen = Counter({str(name): 0 for name in [*names, *paths]})
    seen.update(line["image"] for line in lines)
    failed = sum("error" in line for line in lines)
    stderr = (folder / "stderr").read_text("utf-8")
    return Soaked(early, end, status, seen, failed, time.monotonic() - began, stderr)


def expected_errors(count: int) -> int:
    """How many pictures are broken, at least."""
    third = count // 3
    return 2 * -(-third // EVERY) + -(-(count - 2 * third) // EVERY)


def _linked(pictures: Sequence[Path], folder: Path, count: int) -> dict[str, int]:
    folder.mkdir()
    names = {}
    for number in range(count):
        source = pictures[number % len(pictures)]
        path = folder / f"{number:06}{source.suffix}"
        if number % EVERY:
            path.symlink_to(source.resolve())
        else:
            path.write_bytes(_half(source))
        names[str(path)] = 1
    return names


def _packed(pictures: Sequence[Path], archive: Path, count: int) -> list[str]:
    """A tar archive with so many members; returns their names."""
    names = []
    with tarfile.open(archive, "w") as tar:
        for number in range(count):
            source = pictures[number % len(pictures)]
            name = f"{number:06}{source.suffix}"
            if number % EVERY:
                tar.add(source.resolve(), name)
            else:
                (broken := archive.with_name("broken")).write_bytes(_half(source))
                tar.add(broken, name)
            tar.members.clear()  # tarfile keeps a list
            names.append(name)
    return names


def _half(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


def _when(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> Sample:
    """What a process has once something is so.

    Raises:
        RuntimeError: it has ended before.
    """
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"ended too early, with exit status {process.returncode}")
        time.sleep(0.1)
    found = sample(process.pid)
    if found is None:
        raise RuntimeError("ended too early")
    return found


_READ: dict[Path, tuple[int, int]] = {}


def _lines(path: Path) -> int:
    """Lines of a file that grows; only what is new is read."""
    size, count = _READ.get(path, (0, 0))
    try:
        with path.open("rb") as file:
            file.seek(size)
            new = file.read()
    except FileNotFoundError:
        return 0
    _READ[path] = size + len(new), count + new.count(b"\n")
    return _READ[path][1]


def main(out: IO[str]) -> None:
    model, folder, *count = sys.argv[1:]
    pictures = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    with tempfile.TemporaryDirectory() as place:
        found = soak(Path(model), pictures, int(count[0]) if count else 20_000, Path(place))
    facts = asdict(found) | {"records": Counter(found.records.values()), "stderr": found.stderr.splitlines()[-1:]}
    print(json.dumps(facts, indent=1), file=out)


if __name__ == "__main__":
    main(sys.stdout)
