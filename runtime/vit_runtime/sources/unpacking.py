"""Unpacks compressed bytes piece by piece, and no more of them than an archive of its size may hold."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, Protocol

from vit_runtime.errors import ImageError, one_line

PIECE: Final = 1 << 18
"""Most bytes that are unpacked at a time."""
ALLOWANCE: Final = 1 << 30
"""Bytes that any archive may unpack to."""
RATIO: Final = 200
"""Further bytes that an archive may unpack to, for each of its own."""
_LZMA_MEMORY: Final = 256 << 20
"""Most bytes that an xz stream's dictionary may take; `xz -9` needs 65 MiB, and a header can ask for 4 GiB."""


class Budget:
    """How many bytes an archive may still unpack to: `ALLOWANCE`, and `RATIO` times its size.

    Photos hardly shrink, and whole archives of flat drawings by less than 100. Bombs shrink by 1,000 (deflate) to
    millions (bzip2), or refer to the same bytes again and again. All bytes count, also those that are only skipped: so
    the time that an archive takes is bounded by its size, whatever its members are.
    """

    def __init__(self, archive: str, size: int) -> None:
        self._archive = archive
        self._left: int = ALLOWANCE + RATIO * size

    @property
    def is_spent(self) -> bool:
        """Whether too much was unpacked already."""
        return self._left < 0

    def spend(self, count: int) -> None:
        """Counts bytes.

        Raises:
            ImageError: they are too many.
        """
        self._left -= count
        if self.is_spent:
            what = f"unpacks to more than {ALLOWANCE >> 30} GiB and {RATIO} times its size"
            raise ImageError(self._archive, what, "unpack it yourself, if you trust it")


class Machine(Protocol):
    """What unpacks one compressed stream, as Python's `bz2.BZ2Decompressor` does."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without further input."""

    @property
    def unused_data(self) -> bytes:
        """What was given beyond the end."""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """Takes input, and gives at most so many bytes."""


class Inflater:
    """Python's `zlib.decompressobj` as a `Machine`."""

    def __init__(self, window_bits: int) -> None:
        self._inflater = zlib.decompressobj(window_bits)
        self._full = False

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without further input."""
        return not self._full and not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """What was given beyond the end."""
        return self._inflater.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """Takes input, and gives at most so many bytes."""
        unpacked = self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)
        self._full = len(unpacked) == max_length
        return unpacked


def gzip_machine() -> Machine:
    """Unpacks gzip, with its checksum."""
    return Inflater(16 + zlib.MAX_WBITS)


def deflate_machine() -> Machine:
    """Unpacks deflate without anything around it, as in zip archives."""
    return Inflater(-zlib.MAX_WBITS)


def xz_machine() -> Machine:
    """Unpacks xz within bounds of memory."""
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)


def bzip2_machine() -> Machine:
    """Unpacks bzip2."""
    import bz2

    return bz2.BZ2Decompressor()


def zstd_machine() -> Machine:
    """Unpacks Zstandard, with windows up to 128 MiB.

    Raises:
        ValueError: this Python is older than 3.14.
    """
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ValueError("Python reads Zstandard from version 3.14 on") from None
    machine: Machine = zstd.ZstdDecompressor()
    return machine


class Unpacked:
    """A file of one or more compressed streams, read forwards.

    Args:
        name: what errors call it.
        read: gives at most so many compressed bytes, and none at the end.
        machine: makes what unpacks a stream.
        budget: counts what is unpacked.
        single: whether the file ends with its first stream, whatever follows.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[int], bytes],
        machine: Callable[[], Machine],
        budget: Budget,
        *,
        single: bool = False,
    ) -> None:
        self._name = name
        self._read = read
        self._new_machine = machine
        self._machine: Machine | None = None
        self._budget = budget
        self._single = single

    def read(self, most: int) -> bytes:
        """Gives at most so many bytes, and none at the end.

        Raises:
            ImageError: the stream is damaged or cut off, or the budget is spent.
        """
        try:
            unpacked = self._unpack(min(most, PIECE))
        except ImageError:
            raise
        except Exception as error:  # each kind of stream has errors of its own
            raise ImageError(self._name, f"cannot be unpacked ({one_line(error)})") from error
        self._budget.spend(len(unpacked))
        return unpacked

    def skip(self, count: int) -> None:
        """Goes forward, at most to the end; raises what `read` raises."""
        while count and (piece := self.read(count)):
            count -= len(piece)

    def _unpack(self, most: int) -> bytes:
        block = b""
        while True:
            if self._machine is None:
                self._machine = self._new_machine()
            if self._machine.eof:
                if self._single:
                    return b""
                block = (self._machine.unused_data or self._read(PIECE)).lstrip(b"\0")  # tapes are filled up
                if not block:
                    return b""
                self._machine = self._new_machine()
            elif self._machine.needs_input:
                block = self._read(PIECE)
                if not block:
                    raise cut_off(self._name)
            if unpacked := self._machine.decompress(block, max_length=most):
                return unpacked
            block = b""


def cut_off(name: str) -> ImageError:
    """The error of an archive, or of a member, that ends too early."""
    return ImageError(name, "is cut off")
