"""Anything that is an image goes in, and comes out upright, 8 bits, RGB."""

from __future__ import annotations

import contextlib
import gc
import threading
import warnings
from collections.abc import Callable
from io import BytesIO, RawIOBase
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.errors import ImageError
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.pictures.reading import ImageSource, read_rgb

Encode = Callable[..., bytes]

ORIENTATION = 274
PRESET = Preprocessing(
    resize_shortest_edge=24,
    resize_hw=None,
    crop_hw=(20, 20),
    crop_rounding="half_even",
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
# How a camera stores an upright picture at each EXIF orientation (EXIF 2.3, tag 274: where row 0 and column 0 are).
STORED: dict[int, Callable[[UInt8Array], UInt8Array]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""Orientation 6, the common one, is a phone held upright: the picture lies on its left side and is to be turned
clockwise."""


class Stream(RawIOBase):
    """A file that cannot seek, as a pipe or a network connection."""

    def __init__(self, content: bytes) -> None:
        self._rest = BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        chunk = self._rest.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


SOURCES: dict[str, Callable[[Path, UInt8Array], ImageSource]] = {
    "str": lambda path, _: str(path),
    "Path": lambda path, _: path,
    "bytes": lambda path, _: path.read_bytes(),
    "BytesIO": lambda path, _: BytesIO(path.read_bytes()),
    "stream": lambda path, _: Stream(path.read_bytes()),
    "PIL image, not loaded yet": lambda path, _: Image.open(path),
    "PIL image": lambda _, array: Image.fromarray(array),
    "array": lambda _, array: array,
    "array, mirrored twice by strides": lambda _, array: np.ascontiguousarray(array[:, ::-1])[:, ::-1],
    "array, Fortran order": lambda _, array: np.asfortranarray(array),
    "array, read-only": lambda _, array: np.frombuffer(array.tobytes(), np.uint8).reshape(array.shape),
}


@pytest.fixture
def png(picture: UInt8Array, encode: Encode, tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encode(picture, "PNG"))
    return path


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_gives_the_same_pixels(kind: str, png: Path, picture: UInt8Array):
    source = SOURCES[kind](png, picture)
    assert np.array_equal(np.asarray(read_rgb(source)), picture)


def test_an_open_file_is_read_and_left_open(png: Path, picture: UInt8Array):
    with png.open("rb") as file:
        assert np.array_equal(np.asarray(read_rgb(file)), picture)
        assert not file.closed


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_every_orientation_comes_out_upright(
    orientation: int, file_format: str, options: dict[str, object], picture: UInt8Array, encode: Encode
):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = encode(np.ascontiguousarray(STORED[orientation](picture)), file_format, exif=exif, **options)
    assert np.array_equal(np.asarray(read_rgb(file)), picture)


@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_jpeg_comes_out_upright(orientation: int, picture: UInt8Array, encode: Encode):
    """JPEG loses detail: the pixels to expect are those of the same file without the tag, turned back."""
    stored = np.ascontiguousarray(STORED[orientation](picture))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = np.asarray(read_rgb(encode(stored, "JPEG", exif=exif)))
    decoded = np.asarray(Image.open(BytesIO(encode(stored, "JPEG"))))
    assert np.array_equal(STORED[orientation](upright), decoded)
    assert np.abs(upright.astype(int) - picture).mean() < 20  # an unturned one is off by 90


def test_a_photo_of_the_camera_and_its_upright_copy_give_the_same_model_pixels(picture: UInt8Array, encode: Encode):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    lying = encode(np.rot90(picture).copy(), "PNG", exif=exif)
    assert np.array_equal(load_pixels(lying, PRESET), load_pixels(encode(picture, "PNG"), PRESET))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int, picture: UInt8Array, encode: Encode):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert np.array_equal(np.asarray(read_rgb(encode(picture, "PNG", exif=exif))), picture)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_other_modes_are_converted_as_pillow_does(mode: str, picture: UInt8Array):
    image = Image.fromarray(picture).convert(mode if mode != "PA" else "P").convert(mode)
    ours = read_rgb(image)
    assert ours.mode == "RGB"
    assert np.array_equal(np.asarray(ours), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("alpha", [0, 128])
def test_transparency_is_dropped_not_blended(alpha: int, picture: UInt8Array, encode: Encode):
    image = Image.fromarray(picture)
    image.putalpha(alpha)
    assert np.array_equal(np.asarray(read_rgb(encode(image, "PNG"))), picture)


@pytest.mark.parametrize("transparency", [3, bytes([0, 128, 255] * 20)], ids=["one colour", "some colours, by degrees"])
def test_a_palette_with_transparency_keeps_its_colours(transparency: int | bytes, picture: UInt8Array, encode: Encode):
    """Ordinary on the web; Pillow warns when it converts such a picture without a detour over RGBA."""
    palette_image = Image.fromarray(picture).quantize(64)
    file = encode(palette_image, "PNG", transparency=transparency)
    assert np.array_equal(np.asarray(read_rgb(file)), np.asarray(palette_image.convert("RGB")))


@pytest.fixture(scope="session")
def gradient() -> np.ndarray:
    """All brightnesses that 16 bits have, from left to right and down."""
    return np.arange(2**16, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bit_grey_stays_a_gradient(file_format: str, orientation: int, gradient: np.ndarray, encode: Encode):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = encode(Image.fromarray(STORED[orientation](gradient).copy()), file_format, exif=exif)
    pixels = np.asarray(read_rgb(file)).astype(float)
    for channel in np.moveaxis(pixels, 2, 0):
        assert np.abs(channel - gradient / 257).max() <= 1


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_wide_grey_images_of_every_byte_order_stay_a_gradient(mode: str, gradient: np.ndarray):
    dtype = {"I;16B": ">u2", "I": "i4"}.get(mode, "<u2")
    image = Image.frombytes(mode, (256, 256), gradient.astype(dtype).tobytes())
    assert np.abs(np.asarray(read_rgb(image)).astype(float) - gradient[..., None] / 257).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_of_the_user_is_neither_changed_nor_closed(
    mode: str, orientation: int, picture: UInt8Array, encode: Encode
):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.open(BytesIO(encode(Image.fromarray(picture).convert("L").convert(mode), "PNG", exif=exif)))
    image.load()
    before = image.copy()
    load_pixels(image, PRESET)
    assert image.tobytes() == before.tobytes()
    assert (image.mode, image.size, image.info) == (before.mode, before.size, before.info)
    assert image.getexif()[ORIENTATION] == orientation


def test_an_animation_of_the_user_can_go_on(picture: UInt8Array, encode: Encode):
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    animation = Image.open(BytesIO(encode(frames[0], "PNG", save_all=True, append_images=frames[1:])))
    assert np.array_equal(np.asarray(read_rgb(animation)), picture)
    animation.seek(1)
    assert np.array_equal(np.asarray(read_rgb(animation)), 255 - picture)


@pytest.mark.parametrize("kind", ["whole", "cut off", "animation", "several pages", "no picture"])
def test_no_file_is_left_open(kind: str, picture: UInt8Array, encode: Encode, tmp_path: Path):
    frame = Image.fromarray(255 - picture)
    content = {
        "whole": lambda: encode(picture, "JPEG"),
        "cut off": lambda: encode(picture, "JPEG")[:-200],
        "animation": lambda: encode(picture, "GIF", save_all=True, append_images=[frame]),
        "several pages": lambda: encode(picture, "TIFF", save_all=True, append_images=[frame]),
        "no picture": lambda: b"no picture",
    }[kind]()
    path = tmp_path / "file"
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        with contextlib.suppress(ImageError):
            load_pixels(path, PRESET)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


class Waiting(BytesIO):
    """A file whose first reader tells that it has come, and waits until it may go on."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.reached.set()
        assert self.go_on.wait(timeout=10)
        return super().read(size)


def test_reading_in_two_threads_leaves_the_warning_filters_of_the_process_alone(picture: UInt8Array, encode: Encode):
    """`warnings.catch_warnings` is not safe in threads: who comes first and leaves first undoes it for both."""
    filters = list(warnings.filters)
    files = [Waiting(encode(picture, "PNG")) for _ in range(2)]
    readers = [threading.Thread(target=load_pixels, args=(file, PRESET)) for file in files]
    readers[0].start()
    assert files[0].reached.wait(timeout=10)
    readers[1].start()
    files[1].reached.wait(timeout=0.5)  # comes no further where one waits for the other, which is right too
    for reader, file in zip(readers, files, strict=True):
        file.go_on.set()
        reader.join()
    assert list(warnings.filters) == filters
