"""Every error that vit-edge raises on purpose.

Each class builds its own one-line message from its parts: where it happened, what is wrong, what to do.

    VitEdgeError
    ├── ArtifactError           (ValueError)    a model file that this runtime cannot use
    ├── ImageError              (ValueError)    something that was given as a picture and is none
    ├── ProviderError           (RuntimeError)  an execution provider that cannot run here
    ├── MissingDependencyError  (ImportError)   a package that an extra would have brought
    ├── SelfTestError           (RuntimeError)  this machine does not reproduce the stored answers
    └── OutputFileError         (OSError)       a result file that cannot be written

`vit_export.errors` adds the workstation's branch.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_INPUT = 1
"""Exit status for what the user handed in: a model, a picture, a checkpoint, a folder."""
EXIT_USAGE = 2
"""Exit status for options that do not exist or do not go together."""
EXIT_VERIFICATION = 3
"""Exit status for an answer that differs from PyTorch's by more than its tolerance."""
EXIT_INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


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


class ArtifactError(VitEdgeError, ValueError):
    """A model file that is missing, damaged, of another kind or of an unknown format version."""


class ImageError(VitEdgeError, ValueError):
    """Something that was given as a picture and cannot be read as one."""


class ProviderError(VitEdgeError, RuntimeError):
    """An execution provider that was asked for by name and cannot run here."""


class MissingDependencyError(VitEdgeError, ImportError):
    """A package that is not installed, and the extra that brings it."""

    def __init__(self, package: str, extras: str) -> None:
        super().__init__(package, "not installed", f"run: pip install '{extras}'")


class SelfTestError(VitEdgeError, RuntimeError):
    """The stored answers of the self-test are not reproduced on this machine."""

    exit_code = EXIT_VERIFICATION


class OutputFileError(VitEdgeError, OSError):
    """A file with results that cannot be written; nothing half-written is left."""
