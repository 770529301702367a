"""What comes out of files is shown by a terminal, and does not steer it; libraries' own lines do not reach it."""

from __future__ import annotations

import io
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_runtime.arrays import UInt8Array
from vit_runtime.command_line.terminal import printable, printable_lines

Edit = Callable[..., Path]
Encode = Callable[..., bytes]

EVIL = "cat\x1b]0;owned\x07\x1b[2J\r\n\u202egnp.exe\x9b31m"


def test_every_control_character_is_spelled():
    """Unicode's classes of controls, separators of lines, and marks of direction (Standard Annex 9)."""
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        steers = (
            unicodedata.category(letter) in ("Cc", "Zl", "Zp")
            or unicodedata.bidirectional(letter) in bidirectional
            or code in (0x061C, 0x200E, 0x200F)
        )
        assert (printable(letter) != letter) == steers, hex(code)


def test_letters_of_all_languages_stay():
    text = "Zoë 犬 مرحبا שלום 👩‍🔬 naïve"
    assert printable(text) == text
    assert printable_lines(f"{text}\n{EVIL}").split("\n")[0] == text


def test_labels_are_printed_as_text(edit_artifact: Edit, picture: UInt8Array, encode: Encode, tmp_path: Path):
    model = edit_artifact(document=lambda document: document.update(labels=[EVIL] * 7))
    (tmp_path / "photo.png").write_bytes(encode(picture, "PNG"))
    for command in (["classify", model, tmp_path / "photo.png"], ["info", model]):
        done = subprocess.run([vit_run(), *command], capture_output=True, check=True)
        assert b"\\x1b]0;owned\\x07\\x1b[2J\\r\\n\\u202egnp.exe\\x9b31m" in done.stdout
        assert not steering(done.stdout.decode())


def test_file_names_are_printed_as_text(tiny_artifact: Path, picture: UInt8Array, encode: Encode, tmp_path: Path):
    if sys.platform == "win32":
        pytest.skip("no file can have such a name here")
    names = [f"{EVIL}.png", f"{EVIL}broken.png"]
    (tmp_path / names[0]).write_bytes(encode(picture, "PNG"))
    (tmp_path / names[1]).write_bytes(b"broken")
    done = subprocess.run([vit_run(), "classify", tiny_artifact, tmp_path], capture_output=True, check=False)
    assert done.returncode == 1
    assert not steering(done.stdout.decode())
    assert not steering(done.stderr.decode())
    assert len([line for line in done.stderr.splitlines() if line.startswith(b"error: ")]) == 1


def damaged_tiff(picture: UInt8Array) -> bytes:
    """One that libtiff complains of, and Pillow's logger of another."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "TIFF", compression="tiff_lzw")
    content = bytearray(file.getvalue())
    content[60:-200] = b"\xff" * len(content[60:-200])
    return bytes(content)


def test_libtiff_and_pillow_say_nothing_beside_our_line(
    tiny_artifact: Path, picture: UInt8Array, encode: Encode, tmp_path: Path
):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[271] = "maker"
    photo = encode(picture, "JPEG", exif=exif)
    start = photo.index(b"Exif\0\0") + 6
    files = {
        "a.tif": damaged_tiff(noise),
        "b.jpg": photo[: start + 8] + b"\xff" * 8 + photo[start + 16 :],  # Pillow warns of corrupt EXIF
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run([vit_run(), "embed", tiny_artifact, tmp_path], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("tiny fp32 on ")]
    assert all(line.startswith(f"error: {tmp_path}") for line in lines), lines
    raw = subprocess.run(
        [sys.executable, "-c", "import sys; from PIL import Image; Image.open(sys.argv[1]).load()", tmp_path / "a.tif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "a.tif: " in raw.stderr or "tempfile.tif: " in raw.stderr  # what libtiff itself would say


def vit_run() -> Path:
    return Path(sys.executable).with_name("vit-run")


def steering(text: str) -> list[str]:
    return [letter for letter in text if unicodedata.category(letter) == "Cc" and letter != "\n"]
