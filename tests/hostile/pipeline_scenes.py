"""Hostile places that pictures come from, by number: a folder, an archive, a list on stdin, a folder that changes."""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.made_archives import ARCHIVES

from .good_pictures import Good
from .mutate import mutated
from .picture_mutants import picture_mutants

PICTURES: Final = 8
"""In a place, at most, besides what is no picture."""
NAMES: Final = (
    "\x1b[2Jcleared.png",
    "\x1b]0;a window's title\x07.jpg",
    "two\nlines.png",
    "\u202egnp.exe.jpg",
    "\x9b31mred.webp",
    " .png",
    "-o.png",
    "'; rm -rf ~.jpg",
    "$(reboot).gif",
    "[a-z]*.png",
    "=cmd()|calc.png",
    '",",".jpg',
    *(("\udcff\udcfe.png",) if sys.platform == "linux" else ()),  # no text; other systems refuse it
    "x" * 240 + ".jpg",
)
"""Names that a terminal, a shell, a pattern, a spreadsheet or a line of text could take for something else."""
OUTSIDE: Final = ("../outside.png", "/etc/outside.png", "a/../../outside.png", "C:/outside.png")
"""Names of members that lead out of an archive."""
DISTURBER: Final = "disturber"
"""The name of the thread that changes folders."""
LONG_LINE: Final = b"a" * 70_000


@dataclass(frozen=True)
class Scene:
    """What a command is given."""

    images: tuple[str, ...]
    """Paths for the command line."""
    records: int | None
    """How many answers and errors there must be; None where nobody can say."""
    stdin: bytes = b""
    disturber: Callable[[threading.Event], None] | None = None
    """Runs beside the command until the event."""

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Lets the disturber run."""
        if self.disturber is None:
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self.disturber, args=(over,), name=DISTURBER)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Scenes:
    """Makes scenes of small sound pictures and their mutants."""

    def __init__(self, goods: Sequence[Good]) -> None:
        self._goods = goods

    def scene(self, seed: int, place: Path) -> Scene:
        """A scene in an empty folder; what is in it follows from the number alone."""
        rng = random.Random(seed)
        return (self.folder, self.archive, self.listing, self.changing)[seed % 4](rng, place)

    def pictures(self, rng: random.Random) -> Iterator[tuple[str, bytes]]:
        """Names and contents: sound ones, mutants, an empty one; some names are awkward, and none comes twice."""
        start = rng.randrange(1 << 30)
        mutants = list(picture_mutants(self._goods, range(start, start + PICTURES)))
        awkward = rng.sample(NAMES, 3)
        if rng.random() < 0.5:
            yield "empty.png", b""
        for number, (name, content) in enumerate(mutants[: rng.randint(1, PICTURES)]):
            sound = rng.random() < 0.4
            called = awkward.pop() if awkward and rng.random() < 0.3 else name
            yield called, self._goods[(start + number) % len(self._goods)].content if sound else content

    def folder(self, rng: random.Random, place: Path) -> Scene:
        """A folder with pictures in it and below, and with what is no picture though it is called one."""
        inner = place / "photos" / "below.jpg"  # a folder
        inner.mkdir(parents=True)
        records = 0
        for name, content in self.pictures(rng):
            (rng.choice([inner, inner.parent]) / name).write_bytes(content)
            records += 1
        for name, make, given in SPECIALS:
            if rng.random() < 0.4:
                make(inner.parent / name)
                records += given
        return Scene((str(inner.parent),), max(records, 1))

    def archive(self, rng: random.Random, place: Path) -> Scene:
        """An archive: sound, cut off, or damaged."""
        kind = rng.choice(list(ARCHIVES))
        # Sometimes more than a command reads ahead.
        several = (each for _ in range(rng.choice([1, 1, 4])) for each in self.pictures(rng))
        contents = {name: content for name, content in several if "\udcff" not in name}
        contents |= dict.fromkeys(rng.sample(OUTSIDE, 2), b"outside")
        content, records = ARCHIVES[kind](contents), None
        if rng.random() < 0.4:
            records = len(contents)
        elif rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content = mutated(content, rng)
        (place / kind).write_bytes(content)
        return Scene((str(place / kind),), records)

    def listing(self, rng: random.Random, place: Path) -> Scene:
        """Paths on stdin, good and bad, which may end in the middle of a line."""
        lines: list[tuple[bytes, int]] = [(LONG_LINE, 1), (b"\xff\x1b[2J", 1), (b"", 0), (os.fsencode(place / "no"), 1)]
        files = list(self.pictures(rng))
        separator = b"\0" if any("\n" in name for name, _ in files) else rng.choice([b"\n", b"\r\n", b"\0"])
        (place / "folder").mkdir()
        for number, (name, content) in enumerate(files):
            path = place / "folder" / name if number % 2 else place / name
            path.write_bytes(content)
            lines.append((os.fsencode(path), 1))
        lines.append((os.fsencode(place / "folder"), max(len(files) // 2, 1)))
        rng.shuffle(lines)
        # An end of line at the front, so that the first block tells by what the paths are separated.
        text = separator + separator.join(line for line, _ in lines)
        if rng.random() < 0.3:
            return Scene(("-",), None, text[: rng.randrange(len(text))])
        return Scene(("-",), sum(count for _, count in lines), text)

    def changing(self, rng: random.Random, place: Path) -> Scene:
        """A folder in which files and folders are renamed, deleted, and exchanged for one another all the time."""
        root = place / "photos"
        for inner in ("a", "b", "c/d"):
            (root / inner).mkdir(parents=True)
            for name, content in self.pictures(rng):
                (root / inner / name).write_bytes(content)
        sound = self._goods[rng.randrange(len(self._goods))].content

        def disturb(over: threading.Event) -> None:
            while not over.is_set():
                with suppress(OSError):
                    change(rng, root, sound)

        return Scene((str(root),), None, disturber=disturb)


def change(rng: random.Random, root: Path, content: bytes) -> None:
    """One change to a folder; pipes are left out, since one that takes a picture's place may be waited for."""
    paths = sorted(root.rglob("*"))
    if not paths:
        root.mkdir(exist_ok=True)
        (root / "new.png").write_bytes(content)
        return
    path, other = rng.choice(paths), rng.choice(paths)
    what = rng.randrange(7)
    if what < 2:
        path.rename(other.with_name(f"{rng.randrange(20)}.png"))
    elif what == 2:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    elif what == 3:
        path.write_bytes(content[: rng.randrange(len(content))])
    elif what == 4:
        path.with_name("link.png").symlink_to(other)
    elif what == 5:
        path.with_name("folder.png").mkdir()
    else:
        path.with_name("new.png").write_bytes(content)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _to_its_folder(path: Path) -> None:
    path.symlink_to(path.parent, target_is_directory=True)


def _nowhere(path: Path) -> None:
    path.symlink_to("missing.png")


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _hidden(path: Path) -> None:
    path.write_bytes(b"hidden")


SPECIALS: Final[tuple[tuple[str, Callable[[Path], None], int], ...]] = (
    ("pipe.png", _pipe, 1),
    ("itself.png", _to_itself, 1),
    ("circle.png", _to_its_folder, 0),
    ("circle", _to_its_folder, 0),
    ("nowhere.png", _nowhere, 1),
    ("zeros.png", _device, 1),
    (".hidden.png", _hidden, 0),
    ("notes.txt", _hidden, 0),
)
"""What else lies in a folder: its name, how it is made, how many errors it gives."""
