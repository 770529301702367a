"""What can go wrong while measuring; continues the tree of `vit_runtime.errors`.

VitEdgeError
├── ResultsError      (ValueError)    a results file, or a README to show results in, that cannot be read
├── PhotosError       (ValueError)    a folder of photos whose right answers are missing or match no class
├── ContenderError    (RuntimeError)  a contender that cannot be made or that failed
└── OutdatedError     (ValueError)    README or plots that do not show what the results say
"""

from __future__ import annotations

from typing import ClassVar

from vit_runtime.errors import EXIT_VERIFICATION, VitEdgeError


class ResultsError(VitEdgeError, ValueError):
    """A results file that is missing, damaged, empty or of another version, or a README without the report's marks."""


class PhotosError(VitEdgeError, ValueError):
    """A folder of photos whose right answers are missing, or match no class of the model."""


class ContenderError(VitEdgeError, RuntimeError):
    """A contender that cannot be made here, or that failed; the others go on."""


class OutdatedError(VitEdgeError, ValueError):
    """A README or a plot that does not show what the results say."""

    exit_code: ClassVar[int] = EXIT_VERIFICATION
