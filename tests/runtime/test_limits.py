"""What one picture may cost: pixels, bytes, seconds; and of many frames only the first is decoded."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import struct
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.hostile.bombs import jpeg_of_many_scans, png_of_nothing

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import command_line
from vit_runtime.pictures import guarded
from vit_runtime.pictures.limits import LIMITS
from vit_runtime.pictures.reading import ImageSource, read_rgb

Encode = Callable[..., bytes]

PRESET = Preprocessing(
    resize_shortest_edge=24,
    resize_hw=None,
    crop_hw=(20, 20),
    crop_rounding="half_even",
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
WAYS = ("exact", "fast")


def refusal(source: ImageSource, limits: vit.Limits, decode: vit.Decode = "exact") -> str:
    with pytest.raises(vit.ImageError) as caught:
        vit.load_pixels(source, PRESET, decode=decode, limits=limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_limits_that_hold_by_default():
    """Pillow's own bound, a quarter of a gibibyte, half a minute."""
    assert Image.MAX_IMAGE_PIXELS is not None
    assert vit.Limits() == LIMITS == vit.Limits(pixels=2 * Image.MAX_IMAGE_PIXELS, bytes=256 << 20, seconds=30)


@pytest.mark.parametrize("field", ["pixels", "bytes", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "10", [1]])
def test_a_limit_that_is_no_positive_number(field: str, value: object):
    with pytest.raises(vit.UsageError, match=rf"^Limits\.{field}: .* is not a positive (whole )?number$"):
        vit.Limits(**{field: value})  # type: ignore[arg-type]
    with command_line(), pytest.raises(vit.UsageError, match=rf"^--max-{field}: "):
        vit.Limits(**{field: value})  # type: ignore[arg-type]


def test_pixels_and_bytes_are_whole_numbers():
    assert vit.Limits(seconds=0.5).seconds == 0.5
    for field in ("pixels", "bytes"):
        with pytest.raises(vit.UsageError, match="whole"):
            vit.Limits(**{field: 0.5})  # type: ignore[arg-type]


@pytest.mark.parametrize("decode", WAYS)
def test_a_small_file_of_many_pixels(decode: vit.Decode):
    found = refusal(png_of_nothing(30_000, 30_000), LIMITS, decode)
    assert "too large: 30000x30000 are 900,000,000 pixels, and 178,956,970 are allowed; scale it down, or" in found
    assert found.endswith("raise Limits.pixels")
    with command_line():
        assert refusal(png_of_nothing(30_000, 30_000), LIMITS, decode).endswith("raise --max-pixels")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF"])
@pytest.mark.parametrize("decode", WAYS)
def test_pixels_are_counted_before_decoding(
    file_format: str, decode: vit.Decode, picture: UInt8Array, encode: Encode, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # the limit is ours, and not Pillow's
    content, pixels = encode(picture, file_format), picture.shape[0] * picture.shape[1]
    vit.load_pixels(content, PRESET, decode=decode, limits=vit.Limits(pixels=pixels))
    # An error of decoding would say something else. These two look at the whole file before anything is decoded.
    cut_off = content if file_format in ("WEBP", "AVIF") else content[: len(content) - 40]
    assert "too large: 64x48" in refusal(cut_off, vit.Limits(pixels=pixels - 1), decode)
    assert "too large: 64x48" in refusal(Image.open(io.BytesIO(content)), vit.Limits(pixels=pixels - 1), decode)


def test_pillows_warning_is_not_raised_for_what_is_allowed(
    picture: UInt8Array, encode: Encode, monkeypatch: pytest.MonkeyPatch
):
    """Warnings are errors here; Pillow gives one above `MAX_IMAGE_PIXELS`."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", picture.shape[0] * picture.shape[1] - 1)
    assert np.array_equal(np.asarray(read_rgb(encode(picture, "PNG"))), picture)


def test_what_is_decoded_already_has_no_limit_of_pixels(picture: UInt8Array):
    for source in (picture, Image.fromarray(picture)):
        assert vit.load_pixels(source, PRESET, limits=vit.Limits(pixels=1)).shape == (20, 20, 3)


class Stream(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._rest.readinto(buffer)


def as_path(content: bytes, folder: Path) -> Path:
    path = folder / "picture"
    path.write_bytes(content)
    return path


BY_WAY: dict[str, Callable[[bytes, Path], ImageSource]] = {
    "path": as_path,
    "bytes": lambda content, _: content,
    "memoryview": lambda content, _: memoryview(content),
    "file": lambda content, _: io.BytesIO(content),
    "pipe": lambda content, _: Stream(content),
}


@pytest.mark.parametrize("way", BY_WAY)
@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("decode", WAYS)
def test_bytes(way: str, file_format: str, decode: vit.Decode, picture: UInt8Array, encode: Encode, tmp_path: Path):
    content = encode(picture, file_format)
    source = BY_WAY[way]
    for limit in (len(content), None):
        limits = vit.Limits(bytes=limit)
        assert vit.load_pixels(source(content, tmp_path), PRESET, decode=decode, limits=limits).shape == (20, 20, 3)
    found = refusal(source(content, tmp_path), vit.Limits(bytes=len(content) - 1), decode)
    assert f"too large: more than the {len(content) - 1:,} bytes that are allowed; raise Limits.bytes" in found


@pytest.fixture(scope="session")
def thousands_of_scans(encode: Encode) -> bytes:
    """A progressive JPEG of a few hundred kilobytes and 9 megapixels, which would take some minutes."""
    content = encode(Image.new("L", (3000, 3000), 128), "JPEG", progressive=True)
    slow = jpeg_of_many_scans(content, 20_000)
    assert len(slow) < 1 << 20
    return slow


@pytest.mark.parametrize("decode", WAYS)
def test_a_picture_that_decodes_for_minutes(decode: vit.Decode, thousands_of_scans: bytes):
    """It is stopped long before its end, which the place in the file shows."""
    file = io.BytesIO(thousands_of_scans)
    found = refusal(file, vit.Limits(seconds=0.25), decode)
    assert "takes longer to decode than the 0.25 seconds that are allowed; raise Limits.seconds" in found
    assert file.tell() < len(thousands_of_scans) // 10


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "PPM"])
def test_time_is_looked_at_between_the_blocks_of_a_file(
    file_format: str, encode: Encode, monkeypatch: pytest.MonkeyPatch
):
    """A clock that goes on by a second whenever it is read; the header takes some of them, and each block one."""
    noise = np.random.default_rng(1).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    image = Image.fromarray(noise) if file_format != "GIF" else Image.fromarray(noise[..., 0])
    content = encode(image, file_format)
    assert len(content) > 2 << 16
    ticks = itertools.count()
    monkeypatch.setattr(guarded.time, "monotonic", lambda: float(next(ticks)))
    read_rgb(content, limits=vit.Limits(seconds=1e6))
    whole = next(ticks)
    read_rgb(content, limits=vit.Limits(seconds=whole))
    assert "takes longer" in refusal(content, vit.Limits(seconds=whole - 2))  # the last block comes too late


def test_a_refused_picture_is_freed_at_once(thousands_of_scans: bytes):
    """No circle of references keeps it until Python looks for some."""
    file = io.BytesIO(thousands_of_scans)
    is_there = weakref.ref(file)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(vit.ImageError):
            vit.load_pixels(file, PRESET, limits=vit.Limits(seconds=0.1))
        assert file.tell() < len(thousands_of_scans)
        del file
        assert is_there() is None
    finally:
        gc.enable()


class Endless(io.BytesIO):
    """A file that goes on for ever by repeating what it holds from `start` on; it counts what is read."""

    def __init__(self, content: bytes, start: int) -> None:
        super().__init__(content)
        self._place = 0
        self._start = start
        self.furthest = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0, "asked for all of a file without end"
        content = self.getvalue()
        rest = content[self._start :]
        data = (content[self._place :] + rest * (size // len(rest) + 1))[:size]
        self._place += size
        self.furthest = max(self.furthest, self._place)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence in (0, 1)
        self._place = offset + (self._place if whence else 0)
        return self._place

    def tell(self) -> int:
        return self._place


@pytest.mark.parametrize("file_format", ["GIF", "PNG"])
def test_of_an_endless_animation_only_the_first_frame_is_read(file_format: str, picture: UInt8Array, encode: Encode):
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    one = encode(frames[0], file_format)
    many = encode(frames[0], file_format, save_all=True, append_images=frames[1:] * 3)
    start = many.rindex(b"fcTL") - 4 if file_format == "PNG" else len(one)
    file = Endless(many[: -12 if file_format == "PNG" else -1], start)
    assert np.array_equal(np.asarray(read_rgb(file)), np.asarray(read_rgb(one)))
    assert file.furthest < 4 * len(many) + (1 << 17)


def test_an_endless_pipe_is_refused_by_its_bytes():
    class Pipe(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            buffer[:] = bytes(len(buffer))
            return len(buffer)

    assert "more than the 100,000 bytes" in refusal(Pipe(), vit.Limits(bytes=100_000))


def test_a_tiff_whose_pages_go_in_a_circle(picture: UInt8Array, encode: Encode):
    content = bytearray(encode(picture, "TIFF"))
    assert content[:4] == b"II*\0"
    (first,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * entries, first)  # the next page is this one
    assert np.array_equal(np.asarray(read_rgb(bytes(content))), picture)


@pytest.mark.parametrize("file_format", ["WEBP", "AVIF", "TIFF"])
def test_of_many_frames_the_first_is_the_picture(file_format: str, picture: UInt8Array, encode: Encode):
    first, other = Image.fromarray(picture), Image.fromarray(255 - picture)
    options = {"lossless": True} if file_format == "WEBP" else {}
    many = encode(first, file_format, save_all=True, append_images=[other] * 20, **options)
    pixels = np.asarray(read_rgb(many)).astype(int)
    assert np.abs(pixels - picture).mean() < 10  # AVIF loses detail; the other frame is off by more than 100


def test_messages_call_a_picture_by_the_name_that_is_given(picture: UInt8Array, encode: Encode, tmp_path: Path):
    content = encode(picture, "PNG")
    sources: list[ImageSource] = [b"", content[:-30], tmp_path / "missing.png", picture[..., 0]]
    for source in sources[:3]:
        with pytest.raises(vit.ImageError, match=r"^album\.zip/7\.png: "):
            vit.load_pixels(source, PRESET, name="album.zip/7.png")
    with pytest.raises(vit.ImageError, match=r"^7: too large: "):
        read_rgb(content, limits=vit.Limits(pixels=1), name="7")
