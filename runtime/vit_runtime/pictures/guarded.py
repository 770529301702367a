"""A file that a decoder reads no longer, and no further, than the limits allow."""

from __future__ import annotations

import io
import math
import time
from typing import BinaryIO

from vit_runtime.errors import ImageError
from vit_runtime.pictures.limits import Limits, check_bytes, spelled


class Guarded:
    """A seekable binary file for Pillow, whose `read` raises once the time is over or too many bytes are read.

    Pillow's decoders work block by block, and each block is read here; so a decoder is interrupted between two blocks
    without a process of its own. What has been refused once stays refused, since Pillow goes on after some errors.
    """

    def __init__(self, file: BinaryIO, limits: Limits, name: str) -> None:
        self._file = file
        self._limits = limits
        self._name = name
        self._end = math.inf if limits.seconds is None else time.monotonic() + limits.seconds
        # Words, not the error itself: its traceback would hold the picture in a circle until the next collection.
        self._refusal = "", ""

    @property
    def has_refused(self) -> bool:
        """Whether reading has ended early."""
        return self._refusal != ("", "")

    def refusal(self) -> ImageError:
        """Why reading has ended early, as an error of its own to raise; to be asked for where it has."""
        return ImageError(self._name, *self._refusal)

    def read(self, size: int | None = -1) -> bytes:
        """Reads on, or raises `ImageError`; a decoder that asks for all gets at most one byte more than is allowed."""
        if self.has_refused:
            raise self.refusal()
        try:
            self._check_time()
            return self._bounded(-1 if size is None else size)
        except ImageError as error:
            self._refusal = error.what, error.remedy
            raise

    def extend(self, seconds: float) -> None:
        """Gives more time: so long the reader has waited for others."""
        self._end += seconds

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a place in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place in the file."""
        return self._file.tell()

    def fileno(self) -> int:
        """The file's descriptor: libtiff reads from it by itself, so a large TIFF file need not be held in memory."""
        if not hasattr(self._file, "fileno"):  # somebody's own class
            raise io.UnsupportedOperation("fileno")
        return self._file.fileno()

    def _check_time(self) -> None:
        if time.monotonic() > self._end:
            found = f"takes longer to decode than the {self._limits.seconds:g} seconds that are allowed"
            raise ImageError(self._name, found, f"raise {spelled('seconds')}")

    def _bounded(self, size: int) -> bytes:
        most = self._limits.bytes
        if most is None:
            return self._file.read(size)
        left = max(most + 1 - self._file.tell(), 0)
        data = self._file.read(left if size < 0 else min(size, left))
        check_bytes(self._file.tell(), self._limits, self._name)
        return data
