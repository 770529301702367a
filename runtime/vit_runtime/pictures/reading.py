"""Reads anything that is an image as a picture of 8-bit RGB, or raises one clear error."""

from __future__ import annotations

import os
import stat
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from vit_runtime.arrays import UInt8Array
from vit_runtime.errors import ImageError
from vit_runtime.pictures.decoding import UPRIGHT, LeastSize, Stored, Task, decode_file, decode_image
from vit_runtime.pictures.formats import may_be_decoded
from vit_runtime.pictures.limits import LIMITS, Limits, check_bytes
from vit_runtime.pictures.turns import turn

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | UInt8Array"
"""Anything that is an image: path, encoded bytes, binary file, PIL image, or uint8 RGB array (H, W, 3)."""


def read_rgb(source: ImageSource, *, limits: Limits = LIMITS, name: str | None = None) -> Image.Image:
    """Reads a picture as a person sees it: at full size, upright by its EXIF orientation, 8 bits, RGB.

    Grey, CMYK, palette, 16-bit and transparent pictures are converted as `Image.convert("RGB")` does; 16-bit
    ones are brought to 8 bits by their high byte, where Pillow would clip them to white. Transparency is
    dropped, not blended, as in torchvision's `ImageFolder` loader. Of an animation, or of pages, the first is read.

    Args:
        source: the picture.
        limits: what it may cost.
        name: what to call it in a message, if not by its path or kind.

    Raises:
        ImageError: the source is missing, empty, truncated, no image, an array of another shape or dtype, or beyond
            its limits.
    """
    return _read(source, Task(source_name(source) if name is None else name, limits)).image


def read_stored(source: ImageSource, least: LeastSize, *, limits: Limits = LIMITS, name: str | None = None) -> Stored:
    """Reads a picture without turning it; a JPEG at a half, quarter or eighth of its size where that is enough.

    libjpeg then skips what a smaller picture does not show. Other formats are read at full size, and so is an image
    that the caller has opened, which stays as it is.

    Args:
        source: the picture.
        least: the size that is enough, by the size of the upright picture.
        limits: what it may cost.
        name: what to call it in a message, if not by its path or kind.

    Raises:
        ImageError: as `read_rgb`.
    """
    return _read(source, Task(source_name(source) if name is None else name, limits, least))


def _read(source: ImageSource, task: Task) -> Stored:
    if isinstance(source, np.ndarray):
        image = Image.fromarray(_checked_array(source))
        return Stored(image, UPRIGHT, image.size, image.size)
    if isinstance(source, Image.Image):
        if not may_be_decoded(source):
            found = f"opened as {source.format}, which is not read here"
            raise ImageError(task.name, found, "load() it where you trust it")
        with turn(source):
            return decode_image(source, task)
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = source.tobytes() if isinstance(source, memoryview) else source
        if len(content) == 0:
            raise ImageError(task.name, "empty")
        check_bytes(len(content), task.limits, task.name)
        return decode_file(BytesIO(content), task)
    if isinstance(source, (str, os.PathLike)):
        return _read_path(source_name(source), task)
    if hasattr(source, "read"):
        with turn(source):
            return _read_file(source, task)
    remedy = "give a path, bytes, a binary file, a PIL image or a uint8 array (H, W, 3)"
    raise ImageError(task.name, "not an image", remedy)


def _read_path(path: str, task: Task) -> Stored:
    name = task.name
    if not path:
        raise ImageError("''", "an empty path")
    try:
        # Opened here, not by Pillow, which keeps the files of animations and of broken pictures open.
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # a pipe, such as /dev/stdin or a shell's <(...)
                return decode_file(_all_of(file, task), task)
            if status.st_size == 0:
                raise ImageError(name, "empty file")
            check_bytes(status.st_size, task.limits, name)
            return decode_file(file, task)
    except FileNotFoundError:
        raise ImageError(name, "no such file") from None
    except IsADirectoryError:
        raise ImageError(name, "is a folder, not a picture") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ImageError(name, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _read_file(file: BinaryIO, task: Task) -> Stored:
    """Reads a file that the caller has opened, from its start where it has one."""
    try:
        seekable = file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")
        file = file if seekable else _all_of(file, task)
    except ImageError:
        raise
    except Exception as error:  # a closed file, or somebody's own class, may raise anything
        reason = str(error) or type(error).__name__
        raise ImageError(task.name, f"cannot be read ({reason})", "open it again") from error
    return decode_file(file, task)


def _all_of(file: BinaryIO, task: Task) -> BytesIO:
    """Reads all that a pipe brings into memory, since decoders jump back and forth; no more than the limit allows."""
    data, most = bytearray(), task.limits.bytes
    # An unbuffered file gives only what is there.
    while block := file.read(-1 if most is None else most + 1 - len(data)):
        if isinstance(block, str):
            raise ImageError(task.name, "gives text, not bytes", "open it in binary mode")
        data += block
        check_bytes(len(data), task.limits, task.name)
    if not data:
        raise ImageError(task.name, "empty")
    return BytesIO(data)


def _checked_array(array: UInt8Array) -> UInt8Array:
    where = f"array of shape {array.shape} and dtype {array.dtype}"
    if array.ndim != 3 or array.shape[2] != 3:
        remedies = {2: "give a grey picture as a PIL image", 4: "give a list of pictures"}
        remedy = remedies.get(array.ndim, "give three channels, red, green and blue, in the last axis")
        raise ImageError(where, "not a picture of shape (H, W, 3)", remedy)
    if array.dtype != np.uint8:
        raise ImageError(where, "not uint8", "give RGB values from 0 to 255 as uint8")
    if array.size == 0:
        raise ImageError(where, "no pixels")
    return np.ascontiguousarray(array)


def source_name(source: object) -> str:
    """What to call a source in a message."""
    if isinstance(source, (str, os.PathLike)):
        try:
            return os.fsdecode(source)
        except TypeError:
            return type(source).__name__
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"image of {len(source):,} bytes"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or f"PIL image of mode {source.mode}"
    return str(getattr(source, "name", "")) or type(source).__name__


def encoded_bytes(source: object) -> int:
    """How many bytes of an encoded picture a source holds in memory: none where it is a path or a file."""
    return memoryview(source).nbytes if isinstance(source, (bytes, bytearray, memoryview)) else 0
