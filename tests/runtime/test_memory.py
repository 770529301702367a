"""Memory that is freed goes back to the system, where the C library is one that would keep it."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from vit_runtime.devices import memory

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc: nothing to give back")

# Frees blocks of 8 MB one by one: glibc then takes blocks of that size for small ones, and keeps them.
KEEPS_FREED_BLOCKS = """
import sys
from pathlib import Path
from vit_runtime.devices import memory

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024

for setting in sys.argv[1].split(","):
    getattr(memory, setting, lambda: None)()
for _ in range(3):
    blocks = [bytearray(b"x") * (8 << 20) for _ in range(10)]
    keeper = [bytearray(100_000) for _ in range(3)]
    del blocks
before = resident()
memory.release_freed_memory()
print(before, resident())
"""


def resident_megabytes(setting: str) -> tuple[int, int]:
    """Resident memory with freed blocks of 80 MB: as it is, and after `release_freed_memory`."""
    command = [sys.executable, "-c", KEEPS_FREED_BLOCKS, setting]
    before, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(before), int(after)


@glibc_only
def test_freed_memory_goes_back_when_asked():
    before, after = resident_megabytes("nothing")
    assert after < before - 40


@glibc_only
def test_a_program_gives_large_blocks_back_at_once():
    kept, _ = resident_megabytes("nothing")
    returned, _ = resident_megabytes("return_large_blocks_at_once")
    assert returned < kept - 40


@glibc_only
def test_a_program_can_keep_blocks_again():
    """As `vit-run` does once its model is loaded: the next photo's buffers are as large as the last one's."""
    returned, _ = resident_megabytes("return_large_blocks_at_once")
    kept, _ = resident_megabytes("return_large_blocks_at_once,reuse_large_blocks")
    assert kept > returned + 40


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("no C library should be touched"))
    memory.release_freed_memory()
    memory.return_large_blocks_at_once()
    memory.reuse_large_blocks()
