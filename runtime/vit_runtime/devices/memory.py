"""Gives memory back to the system on Linux, where glibc keeps what a model's loading has freed.

Loading ViT-B/16 in fp32 frees the file's copy of the weights once the engine has its own copy. As large blocks are
freed, glibc raises its threshold for separate blocks, and then keeps up to 130 MB (docs/log.md, 2026-11-23).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
"""The option's number in glibc's <malloc.h>."""
_M_TRIM_THRESHOLD: Final = -1
_LARGE_BLOCK_BYTES: Final = 1 << 20
_LARGEST_THRESHOLD: Final = 32 << 20
"""Largest threshold in bytes that glibc takes on a 64-bit system (mallopt(3))."""


def release_freed_memory() -> None:
    """Returns freed memory to the system; does nothing where the C library is not glibc."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def return_large_blocks_at_once() -> None:
    """Makes this process return each large block when it is freed; for programs only, since it is process-wide."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def reuse_large_blocks() -> None:
    """Makes this process keep freed blocks again, up to some tens of megabytes; for programs, once a model is loaded.

    Each photo needs buffers as large as those of the last photo. Fetching them anew each time costs a fifth of the time
    that decoding takes (docs/log.md, 2026-11-24).
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
