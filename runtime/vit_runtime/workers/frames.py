"""Lets go of what a traceback holds."""

from __future__ import annotations

import inspect
from contextlib import suppress
from types import FrameType
from typing import Final

_WHOSE_FRAMES: Final = ("vit_runtime", "PIL")
"""Packages whose stack frames may hold a decoded picture."""


def let_go(error: BaseException) -> None:
    """Frees what the traceback of an error that was just caught still holds; it can still be shown.

    That may be a whole decoded photo. The frame that has caught the error is running, and cannot be emptied: it is
    taken out.
    """
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    empty_frames(error)


def empty_frames(error: BaseException) -> None:
    """Frees what a traceback's frames still hold, perhaps a whole decoded photo; the traceback can still be shown.

    Only our own frames and Pillow's are cleared. Clearing a caller's frame would hide the variables that the caller
    looks for. Those of generators are left alone: before Python 3.13 clearing one ends its generator, which may be the
    search that has found the picture, with others still to come.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:  # causes can go in a circle
        seen.add(id(cause))
        step = cause.__traceback__
        while step is not None:
            if _is_to_be_cleared(step.tb_frame):
                with suppress(RuntimeError):  # the frame is still running
                    step.tb_frame.clear()
            step = step.tb_next
        cause = cause.__cause__ or cause.__context__


def _is_to_be_cleared(frame: FrameType) -> bool:
    ours = frame.f_globals.get("__name__", "").partition(".")[0] in _WHOSE_FRAMES
    return ours and not frame.f_code.co_flags & inspect.CO_GENERATOR
