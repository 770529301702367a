"""Reads paths from a pipe as they come."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO, Final

from vit_runtime.sources.source import Found, failure
from vit_runtime.waiting import WAITING, Waiting

LONGEST: Final = 1 << 16
"""Most bytes of a path. Linux takes 4,096, Windows 32,767 characters."""
_BLOCK: Final = 1 << 16
_BLOCKS: Final = 4
"""Most blocks that are read ahead."""
_PATIENCE: Final = 0.02
"""Seconds after which a consumer hears that nothing has come."""


def read_paths(stream: BinaryIO) -> Iterator[str | Found | Waiting]:
    r"""Gives each path as soon as its line is there, and `WAITING` while none is; ends quietly with the stream.

    Lines end with "\n" or "\r\n"; an empty one is passed over. Once a NUL has come, as from `find -print0`, only NUL
    ends a path. Bytes that are no text in the system's encoding are kept as in `os.fsdecode`. A path of more than
    `LONGEST` bytes becomes one record, and so does a stream that cannot be read.

    A thread of its own reads at most a few hundred kB ahead. It dies with the process: nothing can wake a thread that
    waits for input.
    """
    blocks: queue.Queue[bytes | OSError] = queue.Queue(_BLOCKS)
    finished = threading.Event()
    reader = threading.Thread(target=_fill, args=(stream, blocks, finished), name="paths from stdin", daemon=True)
    reader.start()
    try:
        yield from _split(blocks)
    finally:
        finished.set()


def _split(blocks: queue.Queue[bytes | OSError]) -> Iterator[str | Found | Waiting]:
    splitter = _Splitter()
    heard = time.monotonic()
    while True:
        with suppress(queue.Empty):
            block = blocks.get(timeout=_PATIENCE)
            if isinstance(block, OSError):
                yield failure("-", f"cannot be read ({block.strerror or block})")
                break
            if not block:
                break
            for path in splitter.add(block):
                yield path
                heard = time.monotonic()
        if time.monotonic() - heard >= _PATIENCE:
            yield WAITING
            heard = time.monotonic()
    yield from splitter.end()


class _Splitter:
    """Cuts a stream of bytes into paths."""

    def __init__(self) -> None:
        self._separator = b"\n"
        self._rest = b""
        self._too_long = False

    def add(self, block: bytes) -> Iterator[str | Found]:
        """Gives the paths that are complete with this block."""
        if b"\0" in block:
            self._separator = b"\0"
        *complete, self._rest = (self._rest + block).split(self._separator)
        for line in complete:
            yield from self._path(line)
        if len(self._rest) > LONGEST:
            self._too_long = True
        if self._too_long:
            self._rest = b""

    def end(self) -> Iterator[str | Found]:
        """Gives the last path, where nothing ends it but the stream."""
        yield from self._path(self._rest)

    def _path(self, line: bytes) -> Iterator[str | Found]:
        if self._separator == b"\n":
            line = line.removesuffix(b"\r")
        if self._too_long or len(line) > LONGEST:
            self._too_long = False
            yield failure("-", f"a path of more than {LONGEST:,} bytes", "give one path a line")
        elif line:
            yield os.fsdecode(line)


def _fill(stream: BinaryIO, blocks: queue.Queue[bytes | OSError], finished: threading.Event) -> None:
    """Reads a stream block by block until its end, which an empty block tells."""
    read = _reader(stream)
    block: bytes | OSError = b""
    while not finished.is_set():
        try:
            block = read()
        except OSError as error:
            block = error
        except ValueError:  # closed by somebody meanwhile
            block = b""
        while not finished.is_set():
            with suppress(queue.Full):
                blocks.put(block, timeout=1)
                break
        if not block or isinstance(block, OSError):
            return


def _reader(stream: BinaryIO) -> Callable[[], bytes]:
    """How to get what is there at the moment, at least a byte, and no byte at the end."""
    try:
        # Past Python's buffer: its lock, held by a waiting thread, would make Python abort at exit.
        number = stream.fileno()
    except (AttributeError, OSError):  # a stream in memory
        read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        return lambda: read(_BLOCK)
    return lambda: os.read(number, _BLOCK)
