"""Damages bytes as bad memory, broken copies and people who want to do harm would, the same way for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable

MOST_CHANGES = 4
"""In one file: with more, hardly any gets past the first bytes that a reader looks at."""
LONGEST_RUN = 64
LONGEST_CHUNK = 512
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
"""Numbers at which a signed or unsigned one of 8, 16 or 32 bits turns over."""

Change = Callable[[bytearray, random.Random], None]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file with one to four changes; most are near its front, where headers are."""
    data = bytearray(content)
    for _ in range(rng.randint(1, MOST_CHANGES)):
        if data:
            rng.choice(CHANGES)(data, rng)
    return bytes(data)


def place(data: bytearray, rng: random.Random) -> int:
    """A position: in half of the cases among the first 256 bytes."""
    return rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data))


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        data[place(data, rng)] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    start = place(data, rng)
    length = min(rng.randint(1, LONGEST_RUN), len(data) - start)
    fill = rng.choice([b"\0" * length, b"\xff" * length, rng.randbytes(length)])
    data[start : start + length] = fill


def write_extreme(data: bytearray, rng: random.Random) -> None:
    """Puts an extreme number where a size, a length or an offset may stand."""
    start, width = place(data, rng), rng.choice([1, 2, 4])
    value = rng.choice(EXTREMES) & ((1 << 8 * width) - 1)
    data[start : start + width] = value.to_bytes(width, rng.choice(["little", "big"]))


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[place(data, rng) :]


def insert(data: bytearray, rng: random.Random) -> None:
    start = place(data, rng)
    data[start:start] = rng.randbytes(rng.randint(1, LONGEST_RUN))


def remove(data: bytearray, rng: random.Random) -> None:
    start = place(data, rng)
    del data[start : start + rng.randint(1, LONGEST_RUN)]


def repeat(data: bytearray, rng: random.Random) -> None:
    """Copies a chunk to another place, beside what is there."""
    source, target = place(data, rng), place(data, rng)
    data[target:target] = data[source : source + rng.randint(1, LONGEST_CHUNK)]


def swap(data: bytearray, rng: random.Random) -> None:
    length = rng.randint(1, LONGEST_RUN)
    first, second = place(data, rng), place(data, rng)
    if first + length <= len(data) and second + length <= len(data):
        data[first : first + length], data[second : second + length] = (
            data[second : second + length],
            data[first : first + length],
        )


CHANGES: tuple[Change, ...] = (flip_bits, overwrite, write_extreme, truncate, insert, remove, repeat, swap)
