"""Damage aimed at a format: sizes that ask for memory, and checksums made right so that decoders see the rest."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable

from .mutate import EXTREMES, mutated

SIDES = (0, 1, 2, 59, 61, 255, 4096, 12_000, 16_383, 46_341, 65_535, 65_536, 1 << 24, (1 << 31) - 1, 1 << 31, 2**32 - 1)
"""Widths and heights: none, nearly the true one, products just inside of 32 bits and of Pillow's limit, and beyond."""

Aim = Callable[[bytes, random.Random], bytes]


def aimed(content: bytes, rng: random.Random) -> bytes:
    """Aimed damage where there is some for the format; any other where not."""
    for sign, aims in AIMS.items():
        if re.match(sign, content, re.DOTALL):
            return rng.choice(aims)(content, rng)
    return mutated(content, rng)


def _put(content: bytes, start: int, value: bytes) -> bytes:
    return content[:start] + value + content[start + len(value) :]


def _sides(rng: random.Random, form: str) -> bytes:
    """Width and height in a `struct` format; what does not fit loses its high bits. Often only one is odd."""
    mask = (1 << 8 * struct.calcsize(form[:2])) - 1
    pair = [rng.choice(SIDES), rng.choice(SIDES)]
    if rng.random() < 0.5:
        pair[rng.randrange(2)] = 40
    return struct.pack(form, *(side & mask for side in pair))


# PNG: a chunk is its length, its type, its content and a checksum.


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, start = [], 8
    while start + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, start)
        chunks.append((content[start + 4 : start + 8], content[start + 8 : start + 8 + length]))
        start += 12 + length
    return chunks


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_size(content: bytes, rng: random.Random) -> bytes:
    (kind, body), *others = png_chunks(content)
    return png_of([(kind, _put(body, 0, _sides(rng, ">II"))), *others])


def png_chunk(content: bytes, rng: random.Random) -> bytes:
    """Damage inside a chunk, with the right length and checksum around it."""
    chunks = png_chunks(content)
    index = rng.randrange(len(chunks))
    kind, body = chunks[index]
    chunks[index] = (kind, mutated(body, rng))
    return png_of(chunks)


def png_pixels(content: bytes, rng: random.Random) -> bytes:
    """Damage in the pixels, compressed again."""
    chunks = []
    for kind, body in png_chunks(content):
        damaged = zlib.compress(mutated(zlib.decompress(body), rng)) if kind == b"IDAT" else body
        chunks.append((kind, damaged))
    return png_of(chunks)


def png_order(content: bytes, rng: random.Random) -> bytes:
    chunks = png_chunks(content)
    index = rng.randrange(len(chunks))
    chunks.insert(rng.randrange(len(chunks) + 1), chunks[index] if rng.random() < 0.5 else chunks.pop(index))
    return png_of(chunks)


# The others: where the size stands.


def gif_size(content: bytes, rng: random.Random) -> bytes:
    """Of the screen, or of the first frame."""
    frame = content.find(b"\x2c", 13)
    return _put(content, rng.choice([6, frame + 5]), _sides(rng, "<HH"))


def bmp_header(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return _put(content, 18, _sides(rng, "<II"))
    # Offset of the pixels, header's size, bits and compression, size of the data, number of colours.
    start = rng.choice([10, 14, 28, 30, 34, 46])
    return _put(content, start, struct.pack("<I", rng.choice((*EXTREMES, 3, 4, 8, 12, 24, 32, 40, 108, 124))))


def jpeg_size(content: bytes, rng: random.Random) -> bytes:
    frame = re.search(rb"\xff[\xc0\xc2]\0.\x08", content, re.DOTALL)
    return content if frame is None else _put(content, frame.end(), _sides(rng, ">HH"))


def jpeg_segment(content: bytes, rng: random.Random) -> bytes:
    """The length of a segment."""
    starts = [match.start() for match in re.finditer(rb"\xff[\xc0-\xc4\xda-\xef\xfe]", content)]
    return _put(content, rng.choice(starts) + 2, struct.pack(">H", rng.choice(EXTREMES) & 0xFFFF))


def tiff_entry(content: bytes, rng: random.Random) -> bytes:
    """Type, count or value of one tag of the first directory; tags of sizes get sides."""
    order, big = "<" if content[:2] == b"II" else ">", content[2:4] in (b"\x2b\0", b"\0\x2b")
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, start)
    first, width = (start + 8, 20) if big else (start + 2, 12)
    entry = first + width * rng.randrange(count)
    if entry + width > len(content):
        return mutated(content, rng)
    (tag,) = struct.unpack_from(order + "H", content, entry)
    if tag in (256, 257, 278, 322, 323) and rng.random() < 0.8:
        wide = _put(content, entry + 2, struct.pack(order + "H", 4))  # LONG
        return _put(wide, entry + width - (8 if big else 4), struct.pack(order + "I", rng.choice(SIDES)))
    kind = rng.choice(["type", "count", "value", "tag"])
    if kind in ("type", "tag"):
        return _put(content, entry + 2 * (kind == "type"), struct.pack(order + "H", rng.randrange(0, 20)))
    at = entry + (4 if kind == "count" else width - (8 if big else 4))
    return _put(content, at, struct.pack(order + "I", rng.choice((*EXTREMES, *range(2, 12)))))


def webp_size(content: bytes, rng: random.Random) -> bytes:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (rng.choice(SIDES) & 0xFF_FFFF for _ in range(2))
        return _put(content, 24, width.to_bytes(3, "little") + height.to_bytes(3, "little"))
    if kind == b"VP8L":
        return _put(content, 21, struct.pack("<I", rng.choice(SIDES) & 0xFFFF_FFFF))
    return _put(content, 26, _sides(rng, "<HH"))


def webp_length(content: bytes, rng: random.Random) -> bytes:
    return _put(content, rng.choice([4, 16]), struct.pack("<I", rng.choice(EXTREMES)))


def box_size(content: bytes, rng: random.Random) -> bytes:
    """AVIF and HEIF: the box that holds width and height."""
    at = content.find(b"ispe")
    return content if at < 0 else _put(content, at + 8, _sides(rng, ">II"))


def box_length(content: bytes, rng: random.Random) -> bytes:
    kinds = (b"ftyp", b"meta", b"iloc", b"iinf", b"iprp", b"ipco", b"ipma", b"mdat", b"moov", b"av1C", b"hvcC", b"pixi")
    found = [content.find(kind) - 4 for kind in kinds if kind in content]
    return _put(content, rng.choice(found), struct.pack(">I", rng.choice(EXTREMES)))


def ppm_header(content: bytes, rng: random.Random) -> bytes:
    """Sizes and the largest value in words, which have no end."""
    magic, *_ = content.split(None, 1)
    numbers = [rng.choice(("-1", "1e9", "9" * 400, "", "#", *map(str, SIDES))) for _ in range(3)]
    if rng.random() < 0.5:
        numbers[rng.randrange(3)] = "40"
    return magic + b"\n" + " ".join(numbers).encode() + b"\n" + content[20:]


AIMS: dict[bytes, tuple[Aim, ...]] = {
    rb"\x89PNG": (png_size, png_chunk, png_pixels, png_order),
    rb"GIF8": (gif_size,),
    rb"BM": (bmp_header,),
    rb"\xff\xd8": (jpeg_size, jpeg_segment),
    rb"II|MM": (tiff_entry,),
    rb"RIFF....WEBP": (webp_size, webp_length),
    rb"....ftyp": (box_size, box_length),
    rb"P[1-7fF]": (ppm_header,),
}
"""How a file of a format starts, and what is done to it."""
