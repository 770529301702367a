"""Every error that vit-edge raises on purpose.

Each class builds its own one-line message from its parts: where it happened, what is wrong, what to do.

    VitEdgeError
    ├── ArtifactError           (ValueError)    a model file that this runtime cannot use
    ├── ImageError              (ValueError)    a source that cannot be read as a picture
    ├── ProviderError           (RuntimeError)  an execution provider that cannot run here
    ├── MissingDependencyError  (ImportError)   a package that an extra would have brought
    ├── IndexFileError          (ValueError)    a search index that is missing, damaged, or of another model
    ├── UsageError              (ValueError)    options that do not go together
    └── OutputFileError         (OSError)       a result file that cannot be written

`vit_export.errors` adds the workstation's branch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, Final

EXIT_INPUT = 1
"""Exit status for a fault in what the user gave: a model, a picture, a checkpoint, a folder."""
EXIT_USAGE = 2
"""Exit status for options that do not exist or do not go together."""
EXIT_VERIFICATION = 3
"""Exit status for an answer that differs from PyTorch's by more than its tolerance."""
EXIT_INTERRUPTED = 130
"""Exit status after Ctrl-C, the same as in shells."""


_LONGEST_FOREIGN_MESSAGE = 300
_ON_COMMAND_LINE: Final = ContextVar("vit_edge_on_command_line", default=False)
_SPELLED_OTHERWISE: Final = {
    "batch_size": "--batch",
    "images": "IMAGES",
    "model": "MODEL",
    "repository": "--triton",
    "rollout": "--attention",
    "targets": "--target",
    "texts": "WORDS",
    "top_k": "--top",
}
"""Options of the command line that are not simply the parameter's name with dashes, by parameter."""


@contextmanager
def command_line() -> Iterator[None]:
    """Makes messages spell options as the command line does; outside of the block they name Python's parameters."""
    before = _ON_COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _ON_COMMAND_LINE.reset(before)


def is_command_line() -> bool:
    """Whether messages spell options as the command line does."""
    return _ON_COMMAND_LINE.get()


def option(name: str, value: object = None) -> str:
    """Spells a parameter, alone or with a value, as the reader of a message can type it.

    >>> option("image_size"), option("precision", "int8"), option("force", value=True)
    ('image_size', "precision='int8'", 'force=True')
    >>> with command_line():
    ...     option("image_size"), option("precision", "int8"), option("force", value=True)
    ('--image-size', '--precision int8', '--force')
    """
    if not _ON_COMMAND_LINE.get():
        return name if value is None else f"{name}={value!r}"
    spelled = _SPELLED_OTHERWISE.get(name, f"--{name.replace('_', '-')}")
    return spelled if value is None or value is True else f"{spelled} {value}"


def one_line(error: BaseException) -> str:
    """Puts another library's error into one line of at most 300 characters; gives its class where it has no text."""
    return " ".join(str(error).split())[:_LONGEST_FOREIGN_MESSAGE] or type(error).__name__


class VitEdgeError(Exception):
    """Base of every error raised on purpose; its text is one line, ready to be shown to a user.

    Args:
        where: the file, option or object that the error is about.
        what: what is wrong with it.
        remedy: what the user can do, as a sentence without its full stop.
    """

    exit_code: ClassVar[int] = EXIT_INPUT

    def __init__(self, where: object, what: str, remedy: str = "") -> None:
        self.where = where
        self.what = what
        self.remedy = remedy
        message = f"{where}: {what}" + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(message.split()))

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        """Lets an error travel between processes, whatever its class builds its message from."""
        return _restore, (type(self), str(self), str(self.where), self.what, self.remedy)


def _restore(cls: type[VitEdgeError], message: str, where: str, what: str, remedy: str) -> VitEdgeError:
    error = cls.__new__(cls, message)
    error.where, error.what, error.remedy = where, what, remedy
    return error


class ArtifactError(VitEdgeError, ValueError):
    """A model file that is missing, damaged, of another kind or of an unknown format version."""


class ImageError(VitEdgeError, ValueError):
    """Something that was given as a picture and cannot be read as one."""


class IndexFileError(VitEdgeError, ValueError):
    """A search index that is missing, damaged, of an unknown format version, or made with another model."""


class ProviderError(VitEdgeError, RuntimeError):
    """An execution provider that was asked for by name and cannot run here."""


class MissingDependencyError(VitEdgeError, ImportError):
    """A package that is not installed, and the extra that brings it."""

    def __init__(self, package: str, extras: str) -> None:
        super().__init__(package, "not installed", f"run: pip install '{extras}'")


class UsageError(VitEdgeError, ValueError):
    """Options that do not go together, or a value that an option cannot take."""

    exit_code: ClassVar[int] = EXIT_USAGE


class OutputFileError(VitEdgeError, OSError):
    """A result file that cannot be written; no half-written file is left."""
