"""How many threads a model should get: the physical performance cores that this process may use.

onnxruntime's own default counts every core of the machine: on a container it ignores the quota, on a phone-like
processor it adds the slow cores, which then hold the fast ones up at every barrier.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CPUS: Final = Path("/sys/devices/system/cpu")
_HYBRID_INTEL: Final = Path("/sys/devices/cpu_core/cpus")
_CGROUP_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
_FAST: Final = 0.7
"""Share of the fastest core's capacity from which a core helps: keeps a phone's prime and big cores, not its little."""


def default_threads() -> int:
    """Physical performance cores open to this process, at least 1; logical ones where Linux's tables are missing."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = len({_core_of(cpu) for cpu in _fastest(allowed)})
    quota = _cgroup_quota()
    return max(1, cores if quota is None else min(cores, int(quota)))


def _fastest(cpus: set[int]) -> set[int]:
    """Keeps the fast kind of a big.LITTLE (`cpu_capacity`) or hybrid Intel (`cpu_core`) processor."""
    capacities = {cpu: int(_read(_CPUS / f"cpu{cpu}/cpu_capacity") or 0) for cpu in cpus}
    fast = {cpu for cpu in cpus if capacities[cpu] >= _FAST * max(capacities.values())}
    return (fast & _parse_list(_read(_HYBRID_INTEL))) or fast


def _core_of(cpu: int) -> str:
    """A name shared by the hardware threads of one core."""
    return _read(_CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)


def _cgroup_quota() -> float | None:
    """Processors that the container may use at once; None without a limit."""
    quota, _, period = _read(_CGROUP_QUOTA).partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _parse_list(text: str) -> set[int]:
    """Parses the kernel's list format: "0-3,8" is {0, 1, 2, 3, 8}."""
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
