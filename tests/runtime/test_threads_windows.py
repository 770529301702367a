"""The default number of threads on Windows, without a Windows machine: on records and a kernel32 made by hand.

The records are laid out by ctypes, by the rules of C, from the structures of Microsoft's winnt.h:
SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX, PROCESSOR_RELATIONSHIP, GROUP_AFFINITY.
"""

from __future__ import annotations

import ctypes
import os
import sys
from types import SimpleNamespace

import pytest

from vit_runtime.devices.threads import default_threads
from vit_runtime.devices.windows import count_cores

LOGICAL_PROCESSORS = 24
"""What `os.cpu_count()` says in these tests, and the fallback gives."""
RELATION_PROCESSOR_CORE, RELATION_CACHE, RELATION_ALL = 0, 2, 0xFFFF
SIMULTANEOUS_MULTITHREADING = 1


def record(
    *masks: int,
    efficiency: int = 0,
    kind: int = RELATION_PROCESSOR_CORE,
    group: int = 0,
    affinity: type = ctypes.c_uint64,
) -> bytes:
    """One record: a core with a mask of its logical processors in each of one or more processor groups."""

    class GroupAffinity(ctypes.Structure):
        _fields_ = (("mask", affinity), ("group", ctypes.c_uint16), ("reserved", ctypes.c_uint16 * 3))

    class ProcessorRelationship(ctypes.Structure):
        _fields_ = (
            ("flags", ctypes.c_uint8),
            ("efficiency_class", ctypes.c_uint8),
            ("reserved", ctypes.c_uint8 * 20),
            ("group_count", ctypes.c_uint16),
            ("group_mask", GroupAffinity * len(masks)),
        )

    class Information(ctypes.Structure):
        _fields_ = (
            ("relationship", ctypes.c_uint32),
            ("size", ctypes.c_uint32),
            ("processor", ProcessorRelationship),
        )

    flags = SIMULTANEOUS_MULTITHREADING if any(mask.bit_count() > 1 for mask in masks) else 0
    affinities = (GroupAffinity * len(masks))(*[GroupAffinity(mask, group + i) for i, mask in enumerate(masks)])
    core = ProcessorRelationship(flags, efficiency, (ctypes.c_uint8 * 20)(), len(masks), affinities)
    return bytes(Information(kind, ctypes.sizeof(Information), core))


PERFORMANCE = [record(0b11 << 2 * core, efficiency=1) for core in range(4)]
EFFICIENCY = [record(1 << cpu, efficiency=0) for cpu in range(8, 16)]
HYBRID = b"".join(EFFICIENCY + PERFORMANCE)
"""As the Core i5-1340P: four performance cores of two threads each, eight efficiency cores."""


def test_a_record_of_one_mask_has_the_documented_size():
    """48 bytes on 64-bit Windows: 8 of head, 24 of the core, 16 of the mask."""
    assert len(record(1)) == 48
    assert len(record(1, affinity=ctypes.c_uint32)) == 44
    assert record(0b11, efficiency=1).hex() == (
        "00000000300000000101" + "00" * 20 + "010003000000000000000000000000000000"
    )


def test_the_records_that_wine_writes():
    """Wine 8.0, asked for the cores of a machine with two of one thread each; it numbers them in a reserved byte."""
    core = "0000000030000000000000{0}" + "00" * 18 + "0100{1}000000000000000000000000000000"
    records = bytes.fromhex(core.format("00", "01") + core.format("01", "02"))
    assert records[:48] == record(1)
    assert count_cores(records) == count_cores(records, affinity=0b11) == 2
    assert count_cores(records, affinity=0b10) == 1


def test_two_threads_of_one_core_count_once():
    assert count_cores(b"".join(record(0b11 << 2 * core) for core in range(6))) == 6


def test_performance_cores_count_alone():
    assert count_cores(HYBRID) == 4


def test_of_three_kinds_the_fastest_counts():
    """As the Core Ultra 7 155H: six performance cores, eight efficiency cores, two of low power."""
    kinds = [(2, 6), (1, 8), (0, 2)]
    cores = [record(1 << n, efficiency=kind) for kind, number in kinds for n in range(number)]
    assert count_cores(b"".join(cores)) == 6


@pytest.mark.parametrize(
    ("affinity", "expected"), [(0b1111, 2), (0b1000, 1), (0b0101, 2), (0xFF03, 1), (0xFF00, 8), (0x0300, 2), (0, 4)]
)
def test_only_cores_open_to_this_process_count(affinity: int, expected: int):
    assert count_cores(HYBRID, affinity) == expected


def test_on_several_processor_groups_the_affinity_of_one_is_left_out():
    cores = [record(1 << n, group=group) for group in (0, 1) for n in range(48)]
    assert count_cores(b"".join(cores), affinity=0b1) == 96


def test_a_core_of_several_masks_counts_once():
    assert count_cores(record(1, 1, 1) + record(2)) == 2


def test_other_kinds_of_record_do_not_count():
    cache = record(0xFFFF, kind=RELATION_CACHE, efficiency=9)
    assert count_cores(cache + HYBRID + cache) == 4


def test_records_of_a_32_bit_process():
    cores = [record(0b11 << 2 * core, affinity=ctypes.c_uint32) for core in range(3)]
    assert count_cores(b"".join(cores), 0b1111, pointer_bytes=4) == 2


def test_records_that_windows_lengthens_are_stepped_over_by_their_size():
    longer = bytearray(record(1) + bytes(8))
    longer[4:8] = len(longer).to_bytes(4, "little")
    assert count_cores(bytes(longer) * 3) == 3


@pytest.mark.parametrize("length", range(1, 48))
def test_a_record_that_is_cut_off_counts_as_unknown(length: int):
    assert count_cores(HYBRID[: 48 * 5 + length]) == 0


@pytest.mark.parametrize(
    "records",
    [
        b"",
        bytes(48),  # a size of zero would go round for ever
        bytes(4) + (7).to_bytes(4, "little") + bytes(40),
        bytes(4) + (8).to_bytes(4, "little"),
        b"\xff" * 96,
        record(1)[:30] + b"\xff\xff" + record(1)[32:],  # more masks than the record holds
    ],
)
def test_odd_records_count_as_unknown(records: bytes):
    assert count_cores(records) == 0


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This machine says that it is Windows."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "cpu_count", lambda: LOGICAL_PROCESSORS)
    return monkeypatch


def kernel32(records: bytes, affinity: int, *, succeeds: bool = True) -> SimpleNamespace:
    """Functions with a C interface that do what Microsoft documents, as far as it is used here."""
    word = ctypes.POINTER(ctypes.c_size_t)

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32))
    def information(kind: int, buffer: int | None, length: ctypes.Array[ctypes.c_uint32]) -> int:
        enough = buffer is not None and length[0] >= len(records)
        length[0] = len(records)
        if kind != RELATION_PROCESSOR_CORE or not enough or not succeeds:
            return 0
        ctypes.memmove(buffer or 0, records, len(records))
        return 1

    @ctypes.CFUNCTYPE(ctypes.c_void_p)
    def process() -> int:
        return ctypes.c_void_p(-1).value or 0

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, word, word)
    def mask(handle: int | None, own: ctypes.Array[ctypes.c_size_t], system: ctypes.Array[ctypes.c_size_t]) -> int:
        if handle != ctypes.c_void_p(-1).value or not succeeds:
            return 0
        own[0], system[0] = affinity, 0xFFFF
        return 1

    return SimpleNamespace(
        GetLogicalProcessorInformationEx=information, GetCurrentProcess=process, GetProcessAffinityMask=mask
    )


def test_the_default_asks_kernel32(windows: pytest.MonkeyPatch):
    windows.setattr(ctypes, "WinDLL", {"kernel32": kernel32(HYBRID, 0xFFFF)}.__getitem__, raising=False)
    assert default_threads() == 4


def test_the_default_keeps_the_affinity(windows: pytest.MonkeyPatch):
    windows.setattr(ctypes, "WinDLL", {"kernel32": kernel32(HYBRID, 0x0F)}.__getitem__, raising=False)
    assert default_threads() == 2


def test_where_windows_refuses_every_processor_counts(windows: pytest.MonkeyPatch):
    refusing = kernel32(HYBRID, 0xFFFF, succeeds=False)
    windows.setattr(ctypes, "WinDLL", lambda _: refusing, raising=False)
    assert default_threads() == LOGICAL_PROCESSORS


def test_where_kernel32_lacks_the_function_every_processor_counts(windows: pytest.MonkeyPatch):
    windows.setattr(ctypes, "WinDLL", lambda _: SimpleNamespace(), raising=False)
    assert default_threads() == LOGICAL_PROCESSORS


def test_where_kernel32_does_not_load_every_processor_counts(windows: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise OSError(name)

    windows.setattr(ctypes, "WinDLL", missing, raising=False)
    assert default_threads() == LOGICAL_PROCESSORS


def test_without_ctypes_every_processor_counts(windows: pytest.MonkeyPatch):
    windows.setitem(sys.modules, "ctypes", None)
    assert default_threads() == LOGICAL_PROCESSORS
