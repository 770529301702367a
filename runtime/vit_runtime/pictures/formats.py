"""Lists the picture formats that are read, with the suffixes of their files, and opens files in them with Pillow.

Pillow by itself would try some forty formats on a file, whatever its name; for one of them, EPS, it starts Ghostscript.
This module tries only formats whose decoders run in this process.
"""

from __future__ import annotations

import math
import struct
from typing import BinaryIO, Final

from PIL import Image, ImageFile, UnidentifiedImageError

_COMMON: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Formats, by Pillow's names, whose openers Pillow imports when it opens its first picture."""
_OTHERS: Final = {"WEBP": (".webp",), "TIFF": (".tif", ".tiff"), "AVIF": (".avif",)}
"""Formats whose openers are imported when none of the common ones fits: that takes 17 ms."""
_BY_PLUG_IN: Final = {"HEIF": (".heic", ".heif")}
"""Formats that Pillow reads once the program has registered a plug-in: `pillow_heif.register_heif_opener()`."""
_INSIDE_OTHERS: Final = ("MPO",)
"""What Pillow calls a JPEG file that holds several pictures."""
_TILE_TAGS: Final = (322, 323)
"""TIFF's TileWidth and TileLength."""
FORMATS: Final = (*_COMMON, *_OTHERS)
"""Every format that is read without a plug-in, by Pillow's names."""
PICTURE_SUFFIXES: Final = frozenset(
    suffix for formats in (_COMMON, _OTHERS, _BY_PLUG_IN) for suffixes in formats.values() for suffix in suffixes
)
"""Suffixes that make a file in a folder count as a picture; a file that is given by its own path may have any name."""


def open_picture(file: BinaryIO) -> ImageFile.ImageFile:
    """Opens a seekable binary file in one of `FORMATS`, or in a plug-in's format, whatever its name; decodes nothing.

    How many pixels it has is for the caller to check.

    Raises:
        UnidentifiedImageError: the file is in none of these formats.
        Exception: whatever Pillow's openers stumble over in a damaged file.
    """
    Image.preinit()
    try:
        return _open(file, tuple(_COMMON))
    except UnidentifiedImageError:
        from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401 - they register themselves

        return _open(file, (*_OTHERS, *_BY_PLUG_IN))


def may_be_decoded(image: Image.Image) -> bool:
    """Whether a picture that was opened elsewhere is safe to decode: decoded already, or in a format read here."""
    return is_decoded(image) or image.format in (*FORMATS, *_BY_PLUG_IN, *_INSIDE_OTHERS)


def is_decoded(image: Image.Image) -> bool:
    """Whether an image has its pixels already."""
    # Pillow's files hold None in place of pixels until they are loaded. Their list of tiles is no sign: some have none.
    return getattr(image, "_im", None) is not None


def largest_tile(image: Image.Image) -> int:
    """Gives the pixels of one tile of a TIFF file, which may be larger than the picture; 0 for other pictures."""
    tags = getattr(image, "tag_v2", None) or {}
    sides = [tags.get(tag) for tag in _TILE_TAGS]
    return math.prod(side for side in sides if isinstance(side, int)) if all(sides) else 0


def silence_libtiff() -> None:
    """Keeps libtiff from printing its errors to the error stream; Pillow raises them anyway.

    This is for programs only, since it changes the whole process. Pillow itself turns off libtiff's warnings, but not
    its errors. Where Pillow's libtiff cannot be reached, as on Windows, nothing changes.
    """
    import ctypes

    from PIL import _imaging

    handler = getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", None)
    if handler is not None:
        handler.restype = ctypes.c_void_p
        handler(None)


def _open(file: BinaryIO, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Does what `Image.open` does, but for its limit of pixels, which belongs to the process and warns from half on."""
    file.seek(0)
    prefix = file.read(16)
    for name in formats:
        if name not in Image.OPEN:  # a plug-in that the program has not registered
            continue
        factory, accept = Image.OPEN[name]
        try:
            accepted = accept is None or accept(prefix)
            if isinstance(accepted, str) or not accepted:  # a text says what Pillow lacks to read the file
                continue
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # by these a plug-in says that the file is not its
            continue
    raise UnidentifiedImageError
