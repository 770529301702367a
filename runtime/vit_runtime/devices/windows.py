"""Counts Windows' physical performance cores, as Microsoft documents GetLogicalProcessorInformationEx.

The function fills a buffer with records of different length, each a SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX: its kind
and size, 4 bytes each, and for a core a PROCESSOR_RELATIONSHIP: flags and efficiency class of 1 byte, 20 bytes
reserved, the number of masks in 2 bytes, and that many GROUP_AFFINITY: a mask of logical processors as wide as a
pointer, its processor group in 2 bytes, 6 bytes reserved.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

_PROCESSOR_CORE: Final = 0
"""RelationProcessorCore."""
_HEAD: Final = struct.Struct("<II")
_CORE: Final = struct.Struct("<BB20xH")
_MASKS: Final = {4: struct.Struct("<IH6x"), 8: struct.Struct("<QH6x")}
"""The layout of a group's mask, by the size of a pointer."""


def windows_cores() -> int:
    """Physical cores of the fastest kind open to this process; 0 where the system does not tell.

    Written without a Windows machine at hand.
    """
    try:
        import ctypes

        # A library object of our own: the types that are set on it are seen by no one else.
        kernel = getattr(ctypes, "WinDLL", ctypes.CDLL)("kernel32")
        return count_cores(_core_records(kernel), _affinity(kernel), ctypes.sizeof(ctypes.c_void_p))
    except (ImportError, OSError, AttributeError):
        return 0


def count_cores(records: bytes, affinity: int = 0, pointer_bytes: int = 8) -> int:
    """Cores of the highest efficiency class among those that the affinity allows; 0 for records that are no such.

    Args:
        records: what GetLogicalProcessorInformationEx writes.
        affinity: one bit for each logical processor of this process; 0 for unknown, which allows all. On machines
            with several processor groups, which have more than 64 logical processors, it is not applied.
        pointer_bytes: 8 for a 64-bit process, 4 for a 32-bit one.
    """
    try:
        cores = list(_cores(records, _MASKS[pointer_bytes]))
    except struct.error:
        return 0
    several_groups = any(group for _, masks in cores for _, group in masks)
    if affinity and not several_groups:
        cores = [core for core in cores if any(mask & affinity for mask, _ in core[1])]
    classes = [efficiency_class for efficiency_class, _ in cores]
    return classes.count(max(classes, default=0))


def _cores(records: bytes, affinity_format: struct.Struct) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The efficiency class of each core, a higher one is faster, and its (mask, processor group) pairs.

    Raises:
        struct.error: a record is cut off.
    """
    start = 0
    while start < len(records):
        kind, size = _HEAD.unpack_from(records, start)
        record = records[start + _HEAD.size : start + size]
        if size < _HEAD.size or len(record) != size - _HEAD.size:
            raise struct.error
        if kind == _PROCESSOR_CORE:
            efficiency_class, mask_count = _CORE.unpack_from(record)[1:]
            offsets = range(_CORE.size, _CORE.size + mask_count * affinity_format.size, affinity_format.size)
            yield efficiency_class, [affinity_format.unpack_from(record, offset) for offset in offsets]
        start += size


def _core_records(kernel: Any) -> bytes:
    """What Windows writes about its cores; nothing where it refuses."""
    import ctypes

    ask = kernel.GetLogicalProcessorInformationEx
    ask.restype = ctypes.c_int
    ask.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    size = ctypes.c_uint32(0)
    ask(_PROCESSOR_CORE, None, ctypes.byref(size))  # Fails, and tells how large the buffer must be.
    buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw[: size.value] if ask(_PROCESSOR_CORE, buffer, ctypes.byref(size)) else b""


def _affinity(kernel: Any) -> int:
    """The logical processors of this process as bits of a number; 0 where Windows does not tell."""
    import ctypes

    process = kernel.GetCurrentProcess
    process.restype = ctypes.c_void_p
    process.argtypes = []
    ask = kernel.GetProcessAffinityMask
    ask.restype = ctypes.c_int
    ask.argtypes = [ctypes.c_void_p] * 3
    own, system = ctypes.c_size_t(0), ctypes.c_size_t(0)
    return own.value if ask(process(), ctypes.byref(own), ctypes.byref(system)) else 0
