"""Counts Windows' physical performance cores, as Microsoft documents GetLogicalProcessorInformationEx.

The function fills a buffer with records of different length, each a SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX:
- A record starts with its kind and its size, 4 bytes each.
- A core's record goes on with a PROCESSOR_RELATIONSHIP: flags and efficiency class, 1 byte each; 20 bytes reserved; the
  number of masks, 2 bytes; and that many GROUP_AFFINITY.
- A GROUP_AFFINITY is a mask of logical processors as wide as a pointer, its processor group in 2 bytes, and 6 bytes
  reserved.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

_PROCESSOR_CORE: Final = 0
"""The kind of a core's record: RelationProcessorCore."""
_HEAD: Final = struct.Struct("<II")
_CORE: Final = struct.Struct("<BB20xH")
_MASKS: Final = {4: struct.Struct("<IH6x"), 8: struct.Struct("<QH6x")}
"""The layout of a group's mask, by the size of a pointer."""


def windows_cores() -> int:
    """Counts physical cores of the fastest kind open to this process; 0 where the system does not tell.

    Written without a Windows machine at hand.
    """
    try:
        import ctypes

        # A library object of our own: nobody else sees the types that are set on it.
        kernel = getattr(ctypes, "WinDLL", ctypes.CDLL)("kernel32")
        return count_cores(_core_records(kernel), _affinity(kernel), ctypes.sizeof(ctypes.c_void_p))
    except (ImportError, OSError, AttributeError):
        return 0


def count_cores(records: bytes, affinity: int = 0, pointer_bytes: int = 8) -> int:
    """Counts, among the cores that the affinity allows, those of the highest efficiency class; 0 for damaged records.

    Args:
        records: what GetLogicalProcessorInformationEx writes.
        affinity: one bit for each logical processor of this process; 0 if unknown, which allows all. It is ignored on
            machines with several processor groups, which have more than 64 logical processors.
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
    """Gives each core's efficiency class, where higher means faster, and its (mask, processor group) pairs.

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
    """Gives the records that Windows writes about its cores; empty where Windows refuses."""
    import ctypes

    ask = kernel.GetLogicalProcessorInformationEx
    ask.restype = ctypes.c_int
    ask.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    size = ctypes.c_uint32(0)
    ask(_PROCESSOR_CORE, None, ctypes.byref(size))  # Fails, and tells how large the buffer must be.
    buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw[: size.value] if ask(_PROCESSOR_CORE, buffer, ctypes.byref(size)) else b""


def _affinity(kernel: Any) -> int:
    """Gives the logical processors of this process as bits of a number; 0 where Windows does not tell."""
    import ctypes

    process = kernel.GetCurrentProcess
    process.restype = ctypes.c_void_p
    process.argtypes = []
    ask = kernel.GetProcessAffinityMask
    ask.restype = ctypes.c_int
    ask.argtypes = [ctypes.c_void_p] * 3
    own, system = ctypes.c_size_t(0), ctypes.c_size_t(0)
    return own.value if ask(process(), ctypes.byref(own), ctypes.byref(system)) else 0
