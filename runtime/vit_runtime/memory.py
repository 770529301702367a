"""Gives memory back to the system on Linux, where glibc keeps what a model's loading has freed.

Loading ViT-B/16 in fp32 frees the file's copy of the weights once the engine has its own. glibc raises its
threshold for separate blocks as they are freed, and then keeps up to 130 MB of them (docs/log.md, 2026-11-23).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
"""From glibc's <malloc.h>."""
_LARGE_BLOCK_BYTES: Final = 1 << 20


def release_freed_memory() -> None:
    """Returns freed memory to the system; does nothing where the C library is not glibc."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def return_large_blocks_at_once() -> None:
    """Makes this process return each large block when it is freed; for programs, since it is a process-wide setting."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
