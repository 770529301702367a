"""Small files of large pictures: written row by row, so that making them takes no memory either."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .aimed_pictures import png_of

COLOUR_TYPES = {"bit": (1, 0, 1), "grey": (8, 0, 8), "16": (16, 0, 16), "palette": (8, 3, 8), "rgb": (8, 2, 24)}
COLOUR_TYPES |= {"rgba": (8, 6, 32), "la": (8, 4, 16), "rgb16": (16, 2, 48)}
"""Of PNG: bits a channel, PNG's number for the kind, bits a pixel."""
ROW_BLOCK = 64
"""Rows that are compressed at a time."""


def png_of_nothing(width: int, height: int, kind: str = "bit", *extra: tuple[bytes, bytes]) -> bytes:
    """A sound PNG in which every pixel is zero; `extra` are further chunks."""
    bits, number, pixel_bits = COLOUR_TYPES[kind]
    row = bytes(1 + -(-width * pixel_bits // 8))  # each row starts with the number of its filter
    packer = zlib.compressobj(9)
    parts = [packer.compress(row * min(ROW_BLOCK, height - start)) for start in range(0, height, ROW_BLOCK)]
    pixels = b"".join([*parts, packer.flush()])
    palette = [(b"PLTE", bytes(range(48)))] if kind == "palette" else []
    header = struct.pack(">IIBBBBB", width, height, bits, number, 0, 0, 0)
    return png_of([(b"IHDR", header), *palette, *extra, (b"IDAT", pixels), (b"IEND", b"")])


def gif_of_nothing(width: int, height: int) -> bytes:
    """A sound GIF of one colour, by LZW with two bits: codes for ever longer runs, until the table is full."""
    left, sizes = width * height, []
    while left > 0:
        run = min(4094, int((2 * left) ** 0.5) + 1)  # runs of 1, 2, 3 and so on pixels, one a code
        sizes.append(run)
        left -= run * (run + 1) // 2
    packed = b"".join(_blocks(_bits(sizes)))
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02" + packed + b"\0;"


def _bits(runs: list[int]) -> bytes:
    """The codes 4 (start anew), 0, 6, 7 and so on, each in as many bits as the table needs by then."""
    value, filled, out = 0, 0, bytearray()
    for run in runs:
        codes = [(4, 3), (0, 3)]
        codes += [(code, min(12, max(3, code.bit_length()))) for code in range(6, 6 + min(run, 4090) - 1)]
        for code, width in codes:
            value |= code << filled
            filled += width
            while filled >= 8:
                out.append(value & 0xFF)
                value >>= 8
                filled -= 8
    value |= 5 << filled
    return bytes(out) + value.to_bytes(4, "little")


def _blocks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 255):
        block = data[start : start + 255]
        yield bytes([len(block)]) + block


def tiff_of_nothing(width: int, height: int, bits: int = 1, channels: int = 1) -> bytes:
    """A sound TIFF of one strip in PackBits, every bit of it zero: CMYK with four channels."""
    row = -(-width * bits * channels // 8)
    runs = b"\x81\0" * (row // 128) + (bytes([257 - row % 128, 0]) if row % 128 > 1 else b"\0\0" * (row % 128))
    strip = runs * height
    photometric = 5 if channels == 4 else 1
    bits_at = 8 + len(strip) if channels > 2 else None  # four numbers of 16 bits do not fit into an entry
    tail = struct.pack(f"<{channels}H", *[bits] * channels) if bits_at else b""
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits_at or bits), (259, 3, 1, 32773)),
        *((262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, channels), (278, 4, 1, height)),
        (279, 4, 1, len(strip)),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(strip) + len(tail)) + strip + tail + directory


def bmp_of_nothing(width: int, height: int) -> bytes:
    """A sound BMP in RLE8 of which each row ends after its first pixel: decoders fill in the others."""
    palette, rows = bytes(1024), b"\1\0\0\0" * height + b"\0\1"
    start = 14 + 40 + len(palette)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + sizes + palette + rows


def tiff_of_a_large_tile(side: int) -> bytes:
    """A TIFF of 60x40 grey pixels in one tile that is much larger, with next to nothing in it."""
    tile = zlib.compress(bytes(1_000))
    entries = [
        *((256, 4, 1, 60), (257, 4, 1, 40), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)),
        *((322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 8), (325, 4, 1, len(tile))),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(tile)) + tile + directory


def png_with_packed_text(kind: bytes, mebibytes: int) -> bytes:
    """A small PNG with so much text, or so large a colour profile, in a few kilobytes."""
    packed = zlib.compress(bytes(mebibytes << 20), 9)
    before = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    return png_of_nothing(60, 40, "rgb", (kind, before + packed))


def jpeg_of_many_scans(content: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last refinement comes again and again; decoders go over all pixels for each."""
    start, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + content[start:end] * scans + content[end:]
