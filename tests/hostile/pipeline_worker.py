"""A process of its own that runs commands over hostile places, many one after the other, and notes what was wrong.

    python -m tests.hostile.pipeline_worker MODEL FOLDER FIRST COUNT REPORT

The commands run in this process, by their own functions, with files in place of stdin, stdout and stderr: what a C
library prints is seen, too. A crash or a hang is found by the number that was begun last. Each line of REPORT is JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import typer

import vit_runtime as vit
from vit_runtime.cli import app
from vit_runtime.command_line.console import set_up

from .good_pictures import good_pictures
from .pipeline_judge import Ran, Verdict, judge
from .pipeline_scenes import DISTURBER, Scene, Scenes
from .worker import PROGRAMS, resident

COMMANDS: Final = ("classify", "classify --json", "classify -o", "embed", "embed -o", "similar", "index", "answers")
LIMITS: Final = ("--max-pixels", "4000000", "--max-seconds", "10")
"""So that a mutant of a hundred million pixels takes no second, and memory tells of leaks."""
WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES: Final = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")


class Watch:
    """What this process does to programs and files while a command runs, told by Python's audit events."""

    def __init__(self) -> None:
        self.allowed = ""
        """Folder in which files may be written; empty while nothing is watched."""
        self.seen: list[str] = []
        self._own = threading.get_ident()
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.allowed or threading.current_thread().name == DISTURBER:
            return
        if event in PROGRAMS:
            self.seen.append(f"started {event} {arguments!r}"[:300])
        elif event == "open" and arguments[2] & WRITING and not isinstance(arguments[0], int):
            self._place(event, arguments[0])
        elif event in CHANGES:
            for path in arguments[:2]:
                if isinstance(path, (str, bytes, os.PathLike)):
                    self._place(event, path)

    def _place(self, event: str, path: str | bytes | os.PathLike[str]) -> None:
        text = os.path.realpath(os.fsdecode(path))
        if text != os.devnull and not text.startswith(self.allowed + os.sep) and text != self.allowed:
            self.seen.append(f"{event} of {text}")


def words_of(rng: random.Random, model: Path, scene: Scene, place: Path) -> tuple[str, list[str], Path | None]:
    """A command for a scene: which kind, its words, and the file that it writes."""
    kind = rng.choice(COMMANDS)
    command, *how = kind.split()
    output: Path | None = None
    words = [command, str(model)]
    if command == "similar":
        words.append(str(place / "query.png"))
    if how == ["-o"]:
        output = place.with_name("out") / rng.choice(["answers.csv", "answers.jsonl"])
        words += ["-o", str(output)]
    elif command == "index":
        words += ["-o", str(place.with_name("out") / "index")]
    else:
        words += how
    words += ["--decode", rng.choice(["exact", "fast"]), *LIMITS]
    words += rng.choice([[], ["--batch", "3"], ["--threads", "1"]])
    return kind, [*words, "--", *scene.images], output


@contextmanager
def streams(stdin: bytes, place: Path) -> Iterator[tuple[Path, Path]]:
    """Files in place of stdout and stderr, and a pipe with some bytes in place of stdin, for C libraries as well."""
    out, err = (place.with_name("out") / name for name in ("stdout", "stderr"))
    kept = [os.dup(number) for number in range(3)]
    reading, writing = os.pipe()
    feeder = threading.Thread(target=feed, args=(writing, stdin))
    targets = [reading, *(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in (out, err))]
    for number, target in enumerate(targets):
        os.dup2(target, number)
        os.close(target)
    feeder.start()
    try:
        yield out, err
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in enumerate(kept):
            os.dup2(old, number)
            os.close(old)
        feeder.join()


def feed(pipe: int, content: bytes) -> None:
    with suppress(BrokenPipeError), open(pipe, "wb", buffering=0) as file:
        for start in range(0, len(content), 40_000):
            file.write(content[start : start + 40_000])


def run_command(words: list[str], scene: Scene, place: Path) -> Ran:
    """Runs a command, and gives its exit status and what it printed."""
    with streams(scene.stdin, place) as (out, err), scene.disturbed():
        try:
            status = app(words, standalone_mode=False) or 0
        except typer.Exit as error:
            status = error.exit_code
        except BaseException as error:
            return Ran(-1, "", "".join(traceback.format_exception(error)[-3:]))
    return Ran(status, *(path.read_text("utf-8", "surrogateescape") for path in (out, err)))


def ask_library(model: Path, scene: Scene, rng: random.Random) -> Verdict:
    """Hands what a scene has to `ViT.answers` as paths, bytes, files, and what is none of these."""
    sources: list[Any] = [None, 7, "", b"", BytesIO(b""), BytesIO(b"text"), closed()]
    for image in map(Path, scene.images):
        for path in sorted(image.rglob("*")) if image.is_dir() else [image]:
            with suppress(OSError):
                if not path.is_fifo():  # whoever names a pipe waits for it
                    sources.append(a_source(path, rng))
    rng.shuffle(sources)
    limits = vit.Limits(pixels=4_000_000, bytes=10_000_000, seconds=10)
    verdict = Verdict()
    with scene.disturbed(), vit.load(model, decode=rng.choice(["exact", "fast"]), limits=limits) as loaded:
        answers = list(loaded.answers(iter(sources), "logits", batch_size=rng.choice([1, 3])))
    if len(answers) != len(sources):
        verdict.wrong.append(f"{len(answers)} answers of {len(sources)} sources")
    for source, answer in zip(sources, answers, strict=False):
        if isinstance(answer, vit.ImageError):
            verdict.refused += 1
            if len(str(answer).splitlines()) != 1:
                verdict.wrong.append(f"a message that is not one line: {str(answer)!r}")
        else:
            verdict.answered += 1
            if answer.source is not source or answer.values.shape != (7,):
                verdict.wrong.append(f"an answer of another picture, or of shape {answer.values.shape}")
    return verdict


def a_source(path: Path, rng: random.Random) -> Any:
    """A file in one of the ways in which a picture may be given; a device by its path."""
    way = rng.randrange(4) if path.is_file() else 0
    if way < 2:
        return (path, str(path))[way]
    content = path.read_bytes()
    return content if way == 2 else BytesIO(content)


def closed() -> BytesIO:
    file = BytesIO(b"closed")
    file.close()
    return file


def attempt(seed: int, scenes: Scenes, model: Path, place: Path, watch: Watch) -> tuple[str, Verdict]:
    """What was run for a number, and what came of it."""
    rng = random.Random(f"command {seed}")
    scene = scenes.scene(seed, place)
    (place / "query.png").write_bytes(list(scenes.pictures(rng))[-1][1])
    kind, words, output = words_of(rng, model, scene, place)
    watch.allowed = os.path.realpath(place.with_name("out"))
    try:
        if kind == "answers":
            verdict = ask_library(model, scene, rng)
        else:
            verdict = judge(kind, run_command(words, scene, place), output, scene.records)
            if kind == "index" and scene.disturber is None:  # again: nothing is new now
                again = judge(kind, run_command(words, scene, place), output, scene.records)
                verdict.wrong += again.wrong
    except BaseException as error:
        verdict = Verdict(wrong=["".join(traceback.format_exception(error)[-3:])])
    finally:
        watch.allowed = ""
    verdict.wrong += watch.seen
    watch.seen.clear()
    return " ".join(words), verdict


def facts() -> dict[str, int]:
    """Memory, files and threads of this process at rest."""
    gc.collect()
    libc: Any = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)  # what is free is no leak
    files = sum(1 for _ in Path("/dev/fd").iterdir())
    return {"resident": resident("VmRSS"), "blocks": sys.getallocatedblocks(), "files": files, "threads": waited()}


def waited() -> int:
    """Threads once those that are about to end have ended."""
    end = time.monotonic() + 5
    while (count := threading.active_count()) > 1 and time.monotonic() < end:
        time.sleep(0.01)
    return count


def main() -> None:
    model, folder, first, count, target = sys.argv[1:]
    place, out = Path(folder) / "place", Path(folder) / "out"
    set_up()
    scenes, watch = Scenes(good_pictures()), Watch()
    with Path(target).open("a", encoding="utf-8") as report:
        write: Callable[[object], None] = lambda line: print(json.dumps(line), file=report, flush=True)  # noqa: E731
        for seed in range(int(first), int(first) + int(count)):
            for fresh in (place, out):
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir(parents=True)
            write({"begun": seed})
            began = time.monotonic()
            ran, verdict = attempt(seed, scenes, Path(model), place, watch)
            write({"seed": seed, "ran": ran, "seconds": time.monotonic() - began, **vars(verdict), **facts()})


if __name__ == "__main__":
    main()
