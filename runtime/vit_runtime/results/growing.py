"""A file of answers that grows record by record, and is valid after each of them."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vit_runtime.errors import OutputFileError, option
from vit_runtime.files import blame
from vit_runtime.results.formats import Format, Record, encoded
from vit_runtime.results.job import Job, check_job, job_path, write_job

if TYPE_CHECKING:
    from io import FileIO

_ELSEWHERE: Final = "choose another place"
_REMEDY: Final = "free some room, then go on with {}"


class GrowingFile:
    """A file of answers. Each record is handed to the system in one piece.

    Whoever reads the file meanwhile may still see a part of the last one. After `kill -9` the file ends with the last
    record, or inside of it; going on with it cuts such a rest off.
    """

    def __init__(self, path: Path, form: Format, job: Job, *, resume: bool) -> None:
        """Opens the file; one that exists is replaced, or with `resume` gone on with.

        Args:
            path: the file; the note on the job lies beside it.
            form: how records are written.
            job: what decides on the answers.
            resume: whether to go on with a file that exists.

        Raises:
            OutputFileError: the file cannot be written, or it is none to go on with.
        """
        self.path = path
        self._form = form
        self._held: Counter[bytes] = Counter()
        self._size = 0
        with blame(path, _ELSEWHERE):
            is_new = not os.path.lexists(path)
            if not is_new and path.exists() and not path.is_file():  # opening a pipe would wait for its reader
                raise OutputFileError(path, "cannot be written (is no regular file)", _ELSEWHERE)
            self._file = path.open("ab", buffering=0)
        try:
            _claim(self._file, path)
        except BaseException:
            self._file.close()
            raise
        try:
            self._begin(job, resume=resume)
        except BaseException:
            self._file.close()
            if is_new:
                with suppress(OSError):
                    path.unlink()
                    job_path(path).unlink()
            raise
        self.held = self._held.total()
        """How many records were there when the file was opened."""

    def takes(self, name: str) -> bool:
        """Whether the next picture of this name is still to be answered.

        A name that is asked for twice is left out twice only where the file held it twice.
        """
        key = _key(name)
        if self._held[key] < 1:
            return True
        self._held[key] -= 1
        return False

    def write(self, record: Record) -> None:
        """Adds a record.

        Raises:
            OutputFileError: no more can be written; the file ends with the record before.
        """
        self._append(self._form.encode(record))

    def close(self) -> None:
        """Closes the file once its bytes are on the disk.

        Raises:
            OutputFileError: they do not get there.
        """
        with blame(self.path, _REMEDY.format(option("resume", value=True))), self._file:
            os.fsync(self._file.fileno())

    def _begin(self, job: Job, *, resume: bool) -> None:
        # Looked at once the file is ours. An empty one is what is left of a program that was killed as it began.
        resume = resume and os.fstat(self._file.fileno()).st_size > 0
        if resume:
            check_job(self.path, job)
            for name, end in self._form.names(self.path):
                self._held[_key(name)] += 1
                self._size = end
        with blame(self.path, _ELSEWHERE):
            self._file.truncate(self._size)
        if not resume:  # after the old answers are gone, so that no note lies beside the answers of another job
            write_job(self.path, job)
        if not self._size:
            self._append(self._form.header())

    def _append(self, data: bytes) -> None:
        try:
            with blame(self.path, _REMEDY.format(option("resume", value=True))):
                written = 0
                while written < len(data):  # a disk that fills up takes a part
                    written += self._file.write(data[written:])
        except BaseException:
            with suppress(OSError):  # whoever goes on with the file cuts the rest off
                self._file.truncate(self._size)
            raise
        self._size += len(data)


def _claim(file: FileIO, path: Path) -> None:
    """Keeps a second program from writing to the same file; the system lets go of it when this one ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputFileError(
            path, "is being written by another program", "wait for it, or give another file"
        ) from None
    except OSError:  # a file system without locks
        return


def _key(name: str) -> bytes:
    """Stands for a name: in 8 bytes, since there may be millions; two names share one in 10⁻⁷ of jobs of a million."""
    return blake2b(encoded(name), digest_size=8).digest()
