"""Lets go of what a traceback holds."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Final

_WHOSE_FRAMES: Final = ("vit_runtime", "PIL")
"""Packages whose stack frames may hold a decoded picture."""


def empty_frames(error: BaseException) -> None:
    """Frees what a traceback's frames still hold, perhaps a whole decoded photo; the traceback can still be shown.

    Only our own frames and Pillow's are cleared. Clearing a caller's frame would end the caller's generator, or hide
    the variables that the caller looks for. Generators of ours stay as well: one that has caught the error and given it
    as a record, as the search in a zip archive does, is still to give the rest.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:  # causes can go in a circle
        seen.add(id(cause))
        step = cause.__traceback__
        while step is not None:
            frame = step.tb_frame
            is_ours = frame.f_globals.get("__name__", "").partition(".")[0] in _WHOSE_FRAMES
            if is_ours and not frame.f_code.co_flags & inspect.CO_GENERATOR:
                with suppress(RuntimeError):  # the frame is still running
                    frame.clear()
            step = step.tb_next
        cause = cause.__cause__ or cause.__context__
