"""Counts macOS's physical performance cores, as Apple documents it in "Determining system capabilities"."""

from __future__ import annotations

from typing import Final

_COUNTS: Final = (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu")
"""Names to ask sysctl for, in this order: cores of the fastest kind, which Apple's own processors tell from macOS 12
on; else all physical cores."""


def macos_cores() -> int:
    """Counts physical cores of the fastest kind; 0 where the system does not tell. Written without a Mac at hand."""
    try:
        import ctypes

        ask = ctypes.CDLL(None).sysctlbyname
    except (ImportError, OSError, AttributeError):
        return 0
    ask.restype = ctypes.c_int
    ask.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    for name in _COUNTS:
        count = ctypes.c_int32(0)
        size = ctypes.c_size_t(ctypes.sizeof(count))
        if ask(name, ctypes.byref(count), ctypes.byref(size), None, 0) == 0 and count.value > 0:
            return count.value
    return 0
