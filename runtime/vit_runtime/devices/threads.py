"""How many threads a model should get: the physical performance cores that this process may use.

onnxruntime's own default counts every core of the machine. In a container it ignores the quota. On a phone-like
processor it adds the slow cores, which then hold up the fast ones at every barrier.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from vit_runtime.devices.cgroups import processor_limit
from vit_runtime.devices.kernel_files import parse_list, parse_number, read_text
from vit_runtime.devices.macos import macos_cores
from vit_runtime.devices.windows import windows_cores

_CPUS: Final = "sys/devices/system/cpu"
_HYBRID_INTEL: Final = "sys/devices/cpu_core/cpus"
_FAST: Final = 0.7
"""Least share of the fastest core's capacity at which a core helps: a phone's prime and big cores do, little ones do
not."""


def default_threads(root: Path = Path("/")) -> int:
    """Counts the physical performance cores open to this process, at least 1; logical ones where they are not known.

    On Linux these are the cores of the process's affinity, and no more than the quota of its control groups. On Windows
    they are the cores of its affinity. macOS knows no affinity. The code for macOS and Windows follows their makers'
    documentation, and is tested on records made by hand, not on these systems. Nothing is raised: facts that cannot be
    found out are left out.

    Args:
        root: the folder with Linux's `proc` and `sys`.
    """
    if sys.platform == "darwin":
        cores = macos_cores()
    elif sys.platform == "win32":
        cores = windows_cores()
    else:
        cores = _linux_cores(root)
    return max(1, cores or os.cpu_count() or 1)


def logical_processors() -> int:
    """Counts the logical processors open to this process, at least 1: hardware threads and slow cores, too."""
    return len(_allowed())


def _linux_cores(root: Path) -> int:
    """Counts cores on Linux; on other systems, which lack Linux's files, every logical processor counts as a core."""
    cores = len({_core_of(cpu, root) for cpu in _fastest(_allowed(), root)})
    limit = processor_limit(root)
    return cores if limit is None else min(cores, limit)


def _allowed() -> set[int]:
    """The logical processors of this process's affinity; all of them where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        try:
            return set(os.sched_getaffinity(0))
        except OSError:
            pass  # A sandbox may forbid the question.
    return set(range(os.cpu_count() or 1))


def _fastest(cpus: set[int], root: Path) -> set[int]:
    """Keeps the fast kind of a big.LITTLE (`cpu_capacity`) or hybrid Intel (`cpu_core`) processor."""
    capacities = {cpu: parse_number(read_text(root / _CPUS / f"cpu{cpu}/cpu_capacity")) for cpu in cpus}
    fast = {cpu for cpu in cpus if capacities[cpu] >= _FAST * max(capacities.values())}
    return (fast & parse_list(read_text(root / _HYBRID_INTEL))) or fast


def _core_of(cpu: int, root: Path) -> str:
    """Gives a name that all hardware threads of one core share."""
    return read_text(root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)
