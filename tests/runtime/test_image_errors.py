"""What is no picture gives an `ImageError` of one line that names it, and never any other exception."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from vit_runtime import ImageError, VitEdgeError
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.pictures.reading import read_rgb

Encode = Callable[..., bytes]

ORIENTATION = 274
PRESET = Preprocessing(
    resize_shortest_edge=9,
    resize_hw=None,
    crop_hw=(8, 8),
    crop_rounding="half_even",
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def refusal(source: object) -> str:
    """The message with which a source is refused."""
    with pytest.raises(ImageError) as caught:
        load_pixels(source, PRESET)
    assert isinstance(caught.value, VitEdgeError)
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def file_refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    message = refusal(path)
    assert str(path) in message
    assert message == refusal(str(path))
    return message


def test_a_missing_file(tmp_path: Path):
    path = tmp_path / "missing.jpg"
    assert refusal(path) == f"{path}: no such file"


def test_a_folder(tmp_path: Path):
    assert refusal(tmp_path) == f"{tmp_path}: is a folder, not a picture"


def test_an_empty_path():
    assert "folder" not in refusal("")


def test_a_file_below_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path) in refusal(tmp_path / "file" / "picture.jpg")


@pytest.mark.parametrize("name", ["null\0byte.jpg", "x" * 300], ids=["null byte", "too long"])
def test_a_name_that_no_file_can_have(name: str):
    assert name.partition("\0")[0] in refusal(name)


def test_an_empty_file(tmp_path: Path):
    assert "empty file" in file_refusal(tmp_path / "empty.jpg", b"")


def test_empty_bytes():
    assert refusal(b"") == "image of 0 bytes: empty"


def test_a_text_file(tmp_path: Path):
    assert "not an image" in file_refusal(tmp_path / "notes.jpg", b"Not a picture.\nBut two lines.\n")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_picture_that_is_cut_off(file_format: str, share: float, picture: UInt8Array, encode: Encode, tmp_path: Path):
    content = encode(picture, file_format)
    message = file_refusal(tmp_path / "cut", content[: int(share * len(content))])
    assert "damaged or cut off" in message or "not an image" in message


def test_bytes_without_a_name_are_named_by_their_size():
    assert "image of 11 bytes" in refusal(b"hello world")


def test_an_open_file_is_named(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("not a picture")
    with path.open("rb") as file:
        assert str(path) in refusal(file)


def test_a_file_in_text_mode(tmp_path: Path, picture: UInt8Array, encode: Encode):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(picture, "JPEG"))
    with path.open(encoding="utf-8") as file:
        assert str(path) in refusal(file)
    refusal(StringIO("text"))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((8, 9), np.uint8), "(8, 9)"),
        (np.zeros((8, 9, 1), np.uint8), "(8, 9, 1)"),
        (np.zeros((8, 9, 4), np.uint8), "(8, 9, 4)"),
        (np.zeros((3, 8, 9), np.uint8), "(3, 8, 9)"),
        (np.zeros((2, 8, 9, 3), np.uint8), "give a list of pictures"),
        (np.zeros((8, 9, 3), np.float32), "float32"),
        (np.zeros((8, 9, 3), np.int64), "int64"),
        (np.zeros((8, 9, 3), bool), "bool"),
        (np.full((8, 9, 3), None), "object"),
        (np.zeros((0, 9, 3), np.uint8), "no pixels"),
        (np.zeros((8, 0, 3), np.uint8), "no pixels"),
        (np.array(7, np.uint8), "shape ()"),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else None,
)
def test_an_array_of_another_kind(array: np.ndarray, expected: str):
    message = refusal(array)
    assert message.startswith(f"array of shape {array.shape} and dtype {array.dtype}: ")
    assert expected in message


@pytest.mark.parametrize("thing", [None, 7, 1.5, object(), {"a": 1}, (n for n in [1])], ids=type)
def test_what_is_nothing_like_a_picture(thing: object):
    assert refusal(thing).startswith(f"{type(thing).__name__}: not an image; give a path")


def test_floating_point_pixels():
    assert "floating-point" in refusal(Image.new("F", (4, 4)))


@pytest.mark.parametrize("mode", ["La", "RGB", "I;16", "F"])
@pytest.mark.parametrize("size_wh", [(0, 4), (4, 0)])
def test_an_image_without_pixels(mode: str, size_wh: tuple[int, int]):
    assert "PIL image" in refusal(Image.new(mode, size_wh))


def test_a_mode_that_pillow_does_not_convert():
    assert "La" in refusal(Image.new("La", (4, 4)))


def test_an_image_that_was_closed(picture: UInt8Array, encode: Encode, tmp_path: Path):
    path = tmp_path / "closed.png"
    path.write_bytes(encode(picture, "PNG"))
    image = Image.open(path)
    image.close()
    assert str(path) in refusal(image)


def test_a_decompression_bomb(picture: UInt8Array, encode: Encode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", picture.shape[0] * picture.shape[1] // 3)
    assert "too large" in file_refusal(tmp_path / "bomb.png", encode(picture, "PNG"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_photo_is_no_bomb(picture: UInt8Array, encode: Encode, monkeypatch: pytest.MonkeyPatch):
    """Pillow warns above 89 million pixels and refuses above twice that: a warning must not stop a photo."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", picture.shape[0] * picture.shape[1] * 2 // 3)
    assert np.array_equal(np.asarray(read_rgb(encode(picture, "PNG"))), picture)


def exif_block(picture: UInt8Array, encode: Encode) -> tuple[bytes, int, int]:
    """A JPEG with EXIF, and where its EXIF block starts and ends."""
    exif = Image.Exif()
    exif[ORIENTATION] = 1
    exif[271] = "maker of the camera"
    content = encode(picture, "JPEG", exif=exif)
    start = content.index(b"Exif\0\0") + 6
    return content, start, start + len(exif.tobytes()) - 6


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the block
@pytest.mark.parametrize("value", [0, 1, 127, 255])
def test_a_broken_exif_block_does_not_hide_the_picture(value: int, picture: UInt8Array, encode: Encode):
    content, start, end = exif_block(picture, encode)
    expected = np.asarray(read_rgb(content))
    for position in range(start, end):
        broken = bytearray(content)
        broken[position] = value
        pixels = np.asarray(read_rgb(bytes(broken)))
        # The orientation's own value may have been hit: then the picture is turned, as the file says.
        assert sorted(pixels.shape) == sorted(expected.shape)
        assert np.array_equal(np.sort(pixels, axis=None), np.sort(expected, axis=None))


def outcome(content: bytes) -> str:
    try:
        pixels = load_pixels(content, PRESET)
    except ImageError as error:
        return f"refused in {len(str(error).splitlines())} line"
    return "read" if pixels.shape == (8, 8, 3) else f"of shape {pixels.shape}"


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes of a file with some of them changed, left out, or cut off at the end."""
    position = st.integers(0, len(content) - 1)

    def apply(changes: list[tuple[int, int | None]], end: int) -> bytes:
        out: list[int] = list(content)
        for place, value in changes:
            out[place : place + 1] = [] if value is None else [value]
        return bytes(out[:end])

    change = st.tuples(position, st.one_of(st.none(), st.integers(0, 255)))
    return st.builds(apply, st.lists(change, max_size=4), st.one_of(st.just(len(content)), position))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("file_format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}), ("BMP", {}), ("AVIF", {})],
    ids=str,
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_a_damaged_file_is_read_or_refused(
    drawn: st.DataObject, file_format: str, options: dict[str, object], picture: UInt8Array, encode: Encode
):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    if file_format in ("WEBP", "AVIF") and not features.check(file_format.lower()):
        pytest.skip(f"this build of Pillow has no {file_format}")
    options = options if file_format in ("GIF", "BMP") else options | {"exif": exif}
    content = drawn.draw(mutated(encode(picture[::4, ::4], file_format, **options)))
    assert outcome(content) in ("read", "refused in 1 line")
