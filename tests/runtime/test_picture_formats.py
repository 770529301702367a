"""One list of formats, decoders in this process only, sizes that are bounded before anything is allocated."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, features

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.pictures.formats import FORMATS, PICTURE_SUFFIXES
from vit_runtime.pictures.limits import Limits
from vit_runtime.pictures.preprocess import LARGEST_ENLARGED, load_pixels
from vit_runtime.pictures.reading import read_rgb

Encode = Callable[..., bytes]
Run = Callable[..., object]

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n0 0 20 20 rectfill\nshowpage\n%%EOF\n"


def preprocessing(edge: int, **changes: object) -> Preprocessing:
    facts = {
        "resize_shortest_edge": edge,
        "resize_hw": None,
        "crop_hw": (edge, edge),
        "crop_rounding": "half_even",
        "interpolation": "bilinear",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    return Preprocessing(**(facts | changes))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_list_is_read(name: str, picture: UInt8Array, encode: Encode):
    if name in ("WEBP", "AVIF") and not features.check(name.lower()):
        pytest.skip(f"this build of Pillow has no {name}")
    content = encode(picture, name, **({"lossless": True} if name == "WEBP" else {}))
    found = np.asarray(read_rgb(content)).astype(int)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.array_equal(found, expected)


def test_heic_is_read_once_a_plug_in_is_registered():
    """In a process of its own, since a plug-in stays registered."""
    pytest.importorskip("pillow_heif")
    script = """
import io, numpy as np
from PIL import Image
import pillow_heif
from vit_runtime import ImageError
from vit_runtime.pictures.reading import read_rgb
file = io.BytesIO()
pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 90))).save(file, quality=90)
try:
    read_rgb(file.getvalue())
except ImageError as error:
    print("before:", error)
pillow_heif.register_heif_opener()
print("after:", read_rgb(file.getvalue()).size)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert "not an image in a format that is read here" in before
    assert after == "after: (64, 48)"


@pytest.mark.parametrize("name", ["EPS", "PCX", "TGA", "ICO", "JPEG2000", "PDF", "DDS", "SGI", "XBM"])
def test_other_formats_are_refused_whatever_they_are_called(name: str, tmp_path: Path):
    path = tmp_path / "photo.jpg"
    try:
        Image.new("1" if name == "XBM" else "RGB", (32, 32)).save(path, name)
    except (OSError, KeyError):
        pytest.skip(f"this build of Pillow does not write {name}")
    with pytest.raises(vit.ImageError, match=r"photo\.jpg: not an image in a format that is read here; use JPEG, PNG"):
        read_rgb(path)


def test_an_eps_file_starts_no_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before, Pillow started `gs` for it, whatever its name."""
    programs, mark = tmp_path / "bin", tmp_path / "started"
    programs.mkdir()
    for program in ("gs", "convert", "ffmpeg"):
        stub = programs / program
        stub.write_text(f'#!/bin/sh\necho "$0" "$@" >> {mark}\n', encoding="ascii")
        stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers whether there is one
    path = tmp_path / "evil.jpg"
    path.write_bytes(EPS)
    with pytest.raises(vit.ImageError):
        read_rgb(path)
    opened = Image.open(io.BytesIO(EPS))
    assert opened.format == "EPS"
    with pytest.raises(vit.ImageError, match="opened as EPS, which is not read here"):
        read_rgb(opened)
    assert not mark.exists()
    with pytest.raises(OSError):  # noqa: PT011 - the stub makes no picture; that it was started is the point
        opened.load()
    assert mark.exists()  # so the test can fail


def test_a_picture_that_its_owner_has_decoded_may_be_of_any_format(picture: UInt8Array, encode: Encode):
    image = Image.open(io.BytesIO(encode(picture, "TGA")))
    with pytest.raises(vit.ImageError, match="opened as TGA"):
        read_rgb(image)
    image.load()
    assert np.array_equal(np.asarray(read_rgb(image)), picture)


def test_a_folder_has_the_suffixes_of_the_list():
    for suffix in (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff", ".avif", ".heic"):
        assert suffix in PICTURE_SUFFIXES
    assert not PICTURE_SUFFIXES & {".eps", ".pdf", ".jp2", ".psd", ".svg", ".ico"}


def narrow_png(width: int, height: int) -> bytes:
    """A grey PNG of black pixels, of some hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size_wh", [(1, 65000), (65000, 1), (3, 65535), (2, 179_000 * 8)], ids=str)
@pytest.mark.parametrize("edge", [32, 224, 512])
def test_a_long_and_narrow_picture_is_refused_before_it_is_scaled(size_wh: tuple[int, int], edge: int):
    """1x65000 took 682 MB at an edge of 32, and at 224 ended in a bare MemoryError of 13 GB."""
    long_edge = max(size_wh) * edge // min(size_wh)
    content = narrow_png(*size_wh)
    if long_edge * edge <= LARGEST_ENLARGED:
        assert load_pixels(content, preprocessing(edge)).shape == (edge, edge, 3)
        return
    with pytest.raises(vit.ImageError) as caught:
        load_pixels(content, preprocessing(edge))
    width, height = size_wh
    scaled = f"{edge}x{long_edge}" if width < height else f"{long_edge}x{edge}"
    assert f"too long and narrow: {width}x{height} would be scaled to {scaled}; crop it first" in str(caught.value)


def test_the_long_picture_is_named(tmp_path: Path):
    (tmp_path / "long.png").write_bytes(narrow_png(1, 65000))
    with pytest.raises(vit.ImageError, match=r"long\.png: too long and narrow"):
        load_pixels(tmp_path / "long.png", preprocessing(224))


def test_just_below_the_bound_it_is_scaled():
    edge = 64
    height = LARGEST_ENLARGED // edge**2 * 4
    assert load_pixels(narrow_png(4, height), preprocessing(edge)).shape == (edge, edge, 3)
    with pytest.raises(vit.ImageError, match="too long and narrow"):
        load_pixels(narrow_png(4, height + 1), preprocessing(edge))


def test_what_is_made_smaller_is_never_refused():
    """It may have more pixels than the bound, before and after."""
    assert LARGEST_ENLARGED < 4096 * 4195  # what 4200x4300 comes to
    assert load_pixels(narrow_png(4200, 4300), preprocessing(4096, crop_hw=(32, 32))).shape == (32, 32, 3)


def test_a_picture_comes_through_a_pipe(tiny_artifact: Path, picture: UInt8Array, encode: Encode):
    """`cat photo | vit-run classify MODEL /dev/stdin` was an "empty file"."""
    if not Path("/dev/stdin").exists():
        pytest.skip("no /dev/stdin here")
    command = [Path(sys.executable).with_name("vit-run"), "embed", tiny_artifact, "/dev/stdin", "--threads", "1"]
    done = subprocess.run(command, input=encode(picture, "PNG"), capture_output=True, check=True)
    assert b'"embedding"' in done.stdout
    nothing = subprocess.run(command, input=b"", capture_output=True, check=False)
    assert nothing.returncode == 1
    assert json.loads(nothing.stdout) == {"image": "/dev/stdin", "error": "/dev/stdin: empty"}
    assert nothing.stderr.splitlines()[-1] == b"error: /dev/stdin: empty"


class Pipe(io.RawIOBase):
    """A file that cannot be turned back, as sockets and pipes are."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        return self.content.readinto(buffer)


def test_a_file_that_cannot_be_turned_back(picture: UInt8Array, encode: Encode):
    assert np.array_equal(np.asarray(read_rgb(io.BufferedReader(Pipe(encode(picture, "PNG"))))), picture)


def test_a_pipe_without_end():
    with pytest.raises(vit.ImageError, match=r"too large: more than the 1,000 bytes that are allowed; raise Limits"):
        read_rgb(
            "/dev/zero" if Path("/dev/zero").exists() else io.BufferedReader(Pipe(bytes(2000))),
            limits=Limits(bytes=1000),
        )
