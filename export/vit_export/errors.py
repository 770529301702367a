"""What can go wrong on the workstation; continues the tree of `vit_runtime.errors`.

VitEdgeError
├── UnknownModelError     (ValueError)       no such model, weights entry or file
├── UsageError            (ValueError)       options that do not go together
├── CheckpointError       (ValueError)       weights that do not fit or cannot be read safely
├── LabelsError           (ValueError)       a label file that does not fit
├── ClassesError          (ValueError)       classes of the user's own that make no head
├── ExamplesError         (ValueError)       a folder of example photos that makes no classes
├── CalibrationError      (ValueError)       too few calibration pictures
├── DownloadError         (ConnectionError)  published weights that cannot be fetched
├── VerificationError     (RuntimeError)     the written graph does not answer as PyTorch does
└── OutputFileError       (OSError)          from vit_runtime: the artifact cannot be written
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

from vit_runtime.errors import EXIT_VERIFICATION, VitEdgeError

_SHOWN = 3


class UnknownModelError(VitEdgeError, ValueError):
    """A name that matches nothing; the message offers the closest names."""

    def __init__(self, kind: str, name: str, known: Sequence[str], remedy: str) -> None:
        spelled = {entry.lower(): entry for entry in known}
        close = [spelled[match] for match in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.5)]
        offer = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
        super().__init__(f"{kind} '{name}'", f"unknown; {offer}", remedy)


class CheckpointError(VitEdgeError, ValueError):
    """A checkpoint that is missing, unsafe, damaged, or made for another architecture."""

    @classmethod
    def mismatch(
        cls,
        where: object,
        model: str,
        *,
        missing: Iterable[str],
        unexpected: Iterable[str],
        reshaped: Iterable[str],
    ) -> CheckpointError:
        """Makes the error for weights whose names or shapes are not the architecture's."""
        groups = {
            "missing": list(missing),
            "unexpected": list(unexpected),
            "of another shape": list(reshaped),
        }
        parts = [f"{len(names)} {kind} ({_some(names)})" for kind, names in groups.items() if names]
        return cls(where, f"does not fit {model}: {', '.join(parts)}", "give the whole state dict of that model")


@contextmanager
def refused_sizes(where: object, remedy: str, about: str = "") -> Iterator[None]:
    """Turns sizes that no Vision Transformer or no picture can have into an error about the checkpoint.

    Raises:
        CheckpointError: replaces the schema's `ValueError`; its message is `about`, then the schema's.
    """
    try:
        yield
    except VitEdgeError:
        raise
    except (ValueError, OverflowError) as error:  # a whole number in JSON can be larger than any float
        raise CheckpointError(where, f"{about}{error}", remedy) from error


_OUT_OF_TIME: Final = ("certificate is not yet valid", "certificate has expired")
"""OpenSSL's words."""


class LabelsError(VitEdgeError, ValueError):
    """A label file that is missing, unreadable or of the wrong length."""


class ClassesError(VitEdgeError, ValueError):
    """Classes of the user's own that cannot be read, or that no head can tell apart."""


class ExamplesError(VitEdgeError, ValueError):
    """A folder of photos, a folder for each class, that no head can be fitted to."""


class CalibrationError(VitEdgeError, ValueError):
    """A folder that static quantization cannot be calibrated on."""


class DownloadError(VitEdgeError, ConnectionError):
    """Published weights that are not in the cache and cannot be downloaded.

    Where a certificate is out of its time, the message says what this machine's clock says: boards without a battery
    start with a wrong one.
    """

    def __init__(self, where: object, what: str, remedy: str = "") -> None:
        if any(words in what for words in _OUT_OF_TIME):
            from datetime import datetime

            now = f"{datetime.now():%Y-%m-%d %H:%M}"
            remedy = f"this machine's clock says {now}, set it if that is wrong; otherwise {remedy}"
        super().__init__(where, what, remedy)


class VerificationError(VitEdgeError, RuntimeError):
    """The written graph's answers differ from PyTorch's by more than the tolerance; nothing was kept."""

    exit_code: ClassVar[int] = EXIT_VERIFICATION


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
