"""The default number of threads on macOS, without a Mac: on a sysctlbyname made by hand.

Names and values are those that Apple documents in "Determining system capabilities".
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from vit_runtime.devices.threads import default_threads

LOGICAL_PROCESSORS = 12
"""What `os.cpu_count()` says in these tests, and the fallback gives."""
NO_SUCH_NAME = -1


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This machine says that it is a Mac."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: LOGICAL_PROCESSORS)
    return monkeypatch


def system_library(counts: Mapping[bytes, int]) -> SimpleNamespace:
    """A C library whose sysctlbyname(3) knows these names; values are C's int, of 4 bytes."""
    size = ctypes.POINTER(ctypes.c_size_t)

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, size, ctypes.c_void_p, ctypes.c_size_t)
    def sysctlbyname(
        name: bytes, old: int, length: ctypes.Array[ctypes.c_size_t], new: int | None, new_length: int
    ) -> int:
        value = ctypes.c_int32(counts.get(name, 0))
        if name not in counts or length[0] < ctypes.sizeof(value) or new is not None or new_length:
            return NO_SUCH_NAME
        ctypes.memmove(old, ctypes.byref(value), ctypes.sizeof(value))
        length[0] = ctypes.sizeof(value)
        return 0

    return SimpleNamespace(sysctlbyname=sysctlbyname)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({b"hw.nperflevels": 2, b"hw.perflevel0.physicalcpu": 8, b"hw.physicalcpu": 10, b"hw.logicalcpu": 10}, 8),
        ({b"hw.physicalcpu": 6, b"hw.logicalcpu": 12}, 6),
        ({b"hw.perflevel0.physicalcpu": 0, b"hw.physicalcpu": 4}, 4),
        ({b"hw.perflevel0.physicalcpu": -1, b"hw.physicalcpu": -1}, LOGICAL_PROCESSORS),
        ({}, LOGICAL_PROCESSORS),
    ],
    ids=["Apple M1 Pro", "Intel Mac of two threads a core", "no fast kind", "odd values", "unknown names"],
)
def test_the_default_asks_sysctlbyname(counts: dict[bytes, int], expected: int, mac: pytest.MonkeyPatch):
    mac.setattr(ctypes, "CDLL", {None: system_library(counts)}.__getitem__)
    assert default_threads() == expected


def test_where_the_library_lacks_the_function_every_processor_counts(mac: pytest.MonkeyPatch):
    mac.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert default_threads() == LOGICAL_PROCESSORS


def test_without_ctypes_every_processor_counts(mac: pytest.MonkeyPatch):
    mac.setitem(sys.modules, "ctypes", None)
    assert default_threads() == LOGICAL_PROCESSORS
