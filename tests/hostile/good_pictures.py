"""Small sound pictures in every format that is read, one for each way in which decoders differ; mutants start here.

A format that this Pillow was built without is left out.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from tests.made_pictures import blots

SIZE_WH = (60, 40)
ORIENTATION = 274


@dataclass(frozen=True)
class Good:
    """One sound picture."""

    name: str
    suffix: str
    content: bytes


def colour() -> Image.Image:
    return blots(3, SIZE_WH, (5, 8))


def frames() -> list[Image.Image]:
    return [colour().rotate(120 * turn) for turn in range(3)]


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(colour().convert("L")).astype(np.uint16) * 257)


def see_through(mode: str) -> Image.Image:
    image = colour().convert("RGBA")
    image.putalpha(colour().convert("L"))
    return image.convert(mode)


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    tags[271] = "maker of the camera"
    return tags


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def animated(file_format: str, **options: Any) -> bytes:
    first, *others = frames()
    return encoded(first, file_format, save_all=True, append_images=others, duration=50, **options)


def good_pictures() -> list[Good]:
    """Every sound picture that this Pillow can write, in a fixed order."""
    makers = (jpeg, png, webp, gif, bmp, tiff, tiff_of_others, netpbm, avif, heif)
    return [good for maker in makers for good in maker()]


def jpeg() -> Iterator[Good]:
    variants: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgb": (colour(), {}),
        "grey": (colour().convert("L"), {}),
        "cmyk": (colour().convert("CMYK"), {}),
        "progressive": (colour(), {"progressive": True}),
        "444": (colour(), {"subsampling": 0, "quality": 95, "optimize": True}),
        "restart": (colour(), {"restart_marker_blocks": 2}),
        "exif": (colour(), {"exif": exif(), "comment": b"a comment"}),
        "icc": (colour(), {"icc_profile": profile()}),
    }
    for name, (image, options) in variants.items():
        yield Good(f"jpeg_{name}", ".jpg", encoded(image, "JPEG", **options))
    yield Good("jpeg_mpo", ".jpg", encoded(frames()[0], "MPO", save_all=True, append_images=frames()[1:]))


def png() -> Iterator[Good]:
    variants: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgb": (colour(), {}),
        "grey": (colour().convert("L"), {}),
        "bit": (colour().convert("1"), {}),
        "16": (sixteen_bits(), {}),
        "la": (see_through("LA"), {}),
        "rgba": (see_through("RGBA"), {}),
        "palette": (colour().quantize(16), {"transparency": bytes(range(0, 256, 16))}),
        "exif_icc": (colour(), {"exif": exif(), "icc_profile": profile()}),
    }
    for name, (image, options) in variants.items():
        yield Good(f"png_{name}", ".png", encoded(image, "PNG", **options))
    yield Good("png_animated", ".png", animated("PNG"))


def webp() -> Iterator[Good]:
    with contextlib.suppress(KeyError, OSError):  # Pillow without libwebp
        yield Good("webp_lossy", ".webp", encoded(colour(), "WEBP"))
        yield Good("webp_lossless", ".webp", encoded(colour(), "WEBP", lossless=True))
        yield Good("webp_rgba", ".webp", encoded(see_through("RGBA"), "WEBP"))
        yield Good("webp_exif_icc", ".webp", encoded(colour(), "WEBP", exif=exif(), icc_profile=profile()))
        yield Good("webp_animated", ".webp", animated("WEBP"))


def gif() -> Iterator[Good]:
    yield Good("gif_palette", ".gif", encoded(colour(), "GIF"))
    yield Good("gif_grey", ".gif", encoded(colour().convert("L"), "GIF", interlace=False))
    yield Good("gif_transparent", ".gif", encoded(colour().quantize(8), "GIF", transparency=3, comment=b"a comment"))
    yield Good("gif_animated", ".gif", animated("GIF", disposal=2, loop=0))


def bmp() -> Iterator[Good]:
    for mode in ("RGB", "L", "P", "1", "RGBA"):
        yield Good(f"bmp_{mode.lower()}", ".bmp", encoded(colour().convert(mode), "BMP"))
    width, height = SIZE_WH
    rows = bytes([width, 7, 0, 0]) * height + b"\0\1"  # a run of one colour, end of line; at last end of bitmap
    palette = bytes(range(256)) * 4
    start = 14 + 40 + len(palette)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    header = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    yield Good("bmp_rle8", ".bmp", header + sizes + palette + rows)


def tiff() -> Iterator[Good]:
    bits, grey = colour().convert("1"), colour().convert("L")
    variants: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "raw": (colour(), {}),
        "grey": (grey, {}),
        "16": (sixteen_bits(), {}),
        "16_lzw": (sixteen_bits(), {"compression": "tiff_lzw"}),
        "cmyk": (colour().convert("CMYK"), {}),
        "rgba": (see_through("RGBA"), {"compression": "tiff_lzw"}),
        "palette": (colour().quantize(16), {"compression": "packbits"}),
        "big": (colour(), {"big_tiff": True}),
        "float": (grey.convert("F"), {}),
        "icc_exif": (colour(), {"icc_profile": profile(), "exif": exif()}),
        "strips": (colour(), {"compression": "tiff_lzw", "tiffinfo": {278: 8}}),
    }
    variants |= {kind: (colour(), {"compression": kind}) for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits")}
    variants |= {kind: (colour(), {"compression": kind}) for kind in ("jpeg", "zstd", "webp", "lzma", "tiff_deflate")}
    variants |= {kind: (bits, {"compression": kind}) for kind in ("group3", "group4", "tiff_ccitt")}
    for name, (image, options) in variants.items():
        with contextlib.suppress(OSError, KeyError):  # a libtiff without that compression
            yield Good(f"tiff_{name.removeprefix('tiff_')}", ".tif", encoded(image, "TIFF", **options))
    yield Good("tiff_pages", ".tif", animated("TIFF", compression="tiff_lzw"))


def tiff_of_others() -> Iterator[Good]:
    """Tiles and separate planes, which Pillow reads and does not write."""
    try:
        import tifffile
    except ImportError:
        return
    pixels, options = np.asarray(colour()), {"metadata": None, "software": False}
    with contextlib.suppress(ValueError):
        for name, array, extra in (
            ("tiles", pixels, {"tile": (16, 32)}),
            ("tiles_deflate", pixels, {"tile": (16, 16), "compression": "zlib"}),
            ("tiles_16", pixels[..., 0].astype(np.uint16) * 257, {"tile": (16, 16)}),
            ("planes", pixels.transpose(2, 0, 1), {"planarconfig": "separate"}),
            ("big_endian", pixels, {"byteorder": ">"}),
        ):
            file = BytesIO()
            order = extra.pop("byteorder", "<")
            with tifffile.TiffWriter(file, byteorder=order) as writer:
                writer.write(array, photometric="minisblack" if array.ndim == 2 else "rgb", **options, **extra)
            yield Good(f"tiff_{name}", ".tif", file.getvalue())


def netpbm() -> Iterator[Good]:
    for name, image, suffix in (
        ("p6", colour(), ".ppm"),
        ("p5", colour().convert("L"), ".pgm"),
        ("p5_16", sixteen_bits(), ".pgm"),
        ("p4", colour().convert("1"), ".pbm"),
        ("float", colour().convert("L").convert("F"), ".pnm"),
    ):
        yield Good(f"ppm_{name}", suffix, encoded(image, "PPM"))
    values = np.asarray(colour().convert("L")).tolist()
    text = "\n".join(" ".join(map(str, row)) for row in values)
    yield Good("ppm_p2", ".pgm", f"P2\n# made by hand\n{SIZE_WH[0]} {SIZE_WH[1]}\n255\n{text}\n".encode())
    bits = "\n".join("".join(str(value % 2) for value in row) for row in values)
    yield Good("ppm_p1", ".pbm", f"P1\n{SIZE_WH[0]} {SIZE_WH[1]}\n{bits}\n".encode())


def avif() -> Iterator[Good]:
    with contextlib.suppress(KeyError, OSError):  # Pillow without libavif
        yield Good("avif_rgb", ".avif", encoded(colour(), "AVIF", speed=10))
        yield Good("avif_rgba", ".avif", encoded(see_through("RGBA"), "AVIF", speed=10, exif=exif()))
        yield Good("avif_animated", ".avif", animated("AVIF", speed=10))


def heif() -> Iterator[Good]:
    """Only where the plug-in that reads them is installed."""
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()
    yield Good("heif_rgb", ".heic", encoded(colour(), "HEIF"))
    yield Good("heif_rgba", ".heic", encoded(see_through("RGBA"), "HEIF", exif=exif()))
