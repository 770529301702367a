"""The word of a live source that has no picture for the moment."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias


class _Sign(Enum):
    WAITING = "nothing new at the moment"


Waiting: TypeAlias = Literal[_Sign.WAITING]
WAITING: Final = _Sign.WAITING
"""Nothing new at the moment: it comes again and again while a source waits, so that finished answers need not."""
