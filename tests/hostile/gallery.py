"""One of everything that means harm: bombs, films, endless scans, special files; each with what must come of it."""

from __future__ import annotations

import gzip
import os
import struct
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from tests.made_archives import tar_of, zip_of
from tests.made_pictures import blots

from .bombs import gif_of_nothing, jpeg_of_many_scans, png_of_nothing, png_with_packed_text
from .good_pictures import encoded

FRAMES: Final = 2_000
SCANS: Final = 20_000
ANSWERED: Final = ""
PIXELS: Final = 9_000_000
"""The limit that commands are given here."""
ENTRIES: Final = 400
"""Of the zip archive whose members overlap."""
FLAGS: Final = 8
"""Where flags stand in an entry of a zip file's directory, and the checksum."""
CRC: Final = 16


@dataclass(frozen=True)
class Exhibit:
    """A file, and the message that it gives, or part of it; empty where it is answered."""

    content: Callable[[], bytes]
    message: str


def film(file_format: str, **options: Any) -> bytes:
    """An animation without end, of thousands of frames."""
    rng = np.random.default_rng(seed=5)
    frames = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(FRAMES)]
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:], loop=0, duration=20, **options)


def scans() -> bytes:
    """A progressive JPEG whose last scan comes again and again; it would take minutes."""
    return jpeg_of_many_scans(encoded(Image.new("L", (3_000, 3_000), 128), "JPEG", progressive=True), SCANS)


def sound() -> bytes:
    return encoded(blots(2), "PNG")


FILES: Final[dict[str, Exhibit]] = {
    "bomb.png": Exhibit(lambda: png_of_nothing(30_000, 30_000), "900,000,000 pixels"),
    "bomb.gif": Exhibit(lambda: gif_of_nothing(30_000, 30_000), "900,000,000 pixels"),
    "thin.png": Exhibit(lambda: png_of_nothing(1, 65_000), "too long and narrow"),
    "text.png": Exhibit(lambda: png_with_packed_text(b"zTXt", 200), "cannot be read"),
    "at_the_limit.png": Exhibit(lambda: png_of_nothing(3_000, 3_000), ANSWERED),
    "beyond_the_limit.png": Exhibit(lambda: png_of_nothing(3_000, 3_001), "3000x3001 are 9,003,000 pixels"),
    "film.gif": Exhibit(lambda: film("GIF"), ANSWERED),
    "film.png": Exhibit(lambda: film("PNG"), ANSWERED),
    "film.webp": Exhibit(lambda: film("WEBP", method=0), ANSWERED),
    "scans.jpg": Exhibit(scans, "takes longer to decode than the 1 seconds that are allowed"),
    "\x1b[2J\x1b]0;title\x07.png": Exhibit(sound, ANSWERED),
    "two\nlines\u202e.png": Exhibit(lambda: b"", "empty"),
}
if sys.platform == "linux":  # other systems take no names that are no text
    FILES["\udcff\udcfe.png"] = Exhibit(sound, ANSWERED)


@cache
def _content(name: str) -> bytes:
    return FILES[name].content()


def hang_files(folder: Path) -> dict[str, str]:
    """Writes `FILES`, and what is no regular file; gives the message of each path."""
    (deep := folder / "deep" / "er").mkdir(parents=True)
    messages = {}
    for number, (name, exhibit) in enumerate(FILES.items()):
        path = (folder, deep)[number % 2] / name
        path.write_bytes(_content(name))
        messages[str(path)] = exhibit.message
    os.mkfifo(folder / "pipe.png")
    (folder / "zeros.png").symlink_to("/dev/zero")
    (folder / "terminal.jpg").symlink_to("/dev/tty")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "nowhere.png").symlink_to("missing")
    messages |= {str(path): "is no regular file" for path in folder.glob("*.*") if not path.is_file()}
    # Circles: of one link, of two, and back to the top.
    (folder / "up").symlink_to("..", target_is_directory=True)
    (folder / "one").symlink_to("deep/two", target_is_directory=True)
    (folder / "deep" / "two").symlink_to("../one", target_is_directory=True)
    (deep / "top").symlink_to(folder, target_is_directory=True)
    return messages


def hang_archives(folder: Path) -> dict[str, str]:
    """Writes archives; gives the message of each member and of each archive that ends early."""
    # Decoding takes longer than unpacking: the search waits in the archive while a bad member is answered.
    photo = encoded(blots(2, (1_600, 1_200)), "JPEG")
    contents = {f"{number:02}.png": photo for number in range(40)} | {"10.png": b"", "../out.png": b"out"}
    contents |= {"\x1b[31m.png": b"red"}
    lost = {"10.png": "empty", "../out.png": "leads out", "\x1b[31m.png": "not an image"}
    made = {
        "sound.zip": damaged_zip(zip_of(contents)),
        "sound.tar": tar_of(contents),
        "cut.tar.gz": gzip.compress(tar_of(contents))[:-4],
        "cut.zip": zip_of(contents)[:-30],
    }
    messages = {}
    for name, content in made.items():
        path = folder / name
        path.write_bytes(content)
        if name == "cut.zip":  # the directory at its end is gone
            messages[str(path)] = "has no directory at its end"
            continue
        messages |= {f"{path}/{member}": lost.get(member, ANSWERED) for member in contents}
        if name == "sound.zip":
            messages |= {f"{path}/05.png": "encrypted", f"{path}/20.png": "checksum"}
        if name == "cut.tar.gz":
            messages[str(path)] = "is cut off"
    return messages


def damaged_zip(content: bytes) -> bytes:
    """With a member that says it is encrypted, and one with another checksum, far before the end."""
    data = bytearray(content)
    struct.pack_into("<H", data, data.rfind(b"05.png") - 46 + FLAGS, 1)
    struct.pack_into("<L", data, data.rfind(b"20.png") - 46 + CRC, 1)
    return bytes(data)


def hang_bombs(folder: Path) -> list[Path]:
    """A tar archive of zeros that are compressed again and again, and a zip archive whose members overlap."""
    header = tarfile.TarInfo("zeros.png")
    header.size = 3 << 30
    block = gzip.compress(bytes(32 << 20))
    tar = folder / "zeros.tar.gz"
    tar.write_bytes(gzip.compress(header.tobuf()) + block * 48)  # streams one after the other are one file
    kernel = zip_of({"a.jpg": bytes(8 << 20)})
    start = kernel.find(b"PK\x01\x02")
    entry = kernel[start : kernel.find(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, ENTRIES, ENTRIES, ENTRIES * len(entry), start, 0)
    overlapping = folder / "overlapping.zip"
    overlapping.write_bytes(kernel[:start] + ENTRIES * entry + end)
    return [tar, overlapping]
