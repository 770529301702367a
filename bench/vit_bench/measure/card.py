"""The card of a run: what machine this is, what is installed on it, and what else it was doing."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from vit_bench.results import Card, Load, Package
from vit_runtime.devices.hardware import cpuinfo, processor_name
from vit_runtime.devices.kernel_files import read_text
from vit_runtime.devices.threads import default_threads, logical_processors
from vit_runtime.installed import installed_version

_ROOT: Final = Path("/")
"""Where Linux has its tables."""
_BOARD: Final = "proc/device-tree/model"
"""On ARM boards: "Raspberry Pi 5 Model B Rev 1.0"."""
_GOVERNOR: Final = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_X86_SETS: Final = ("avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16")
_AMX_SETS: Final = ("amx_tile", "amx_int8", "amx_bf16")
_ARM_SETS: Final = ("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme")
_MATRIX_SETS: Final = frozenset((*_X86_SETS, *_AMX_SETS, *_ARM_SETS))
"""Flags of /proc/cpuinfo, on x86 and ARM, that decide how fast matrices are multiplied."""
_RUNTIMES: Final = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "openvino",
    "torch",
    "MNN",
    "ncnn",
    "executorch",
)
PACKAGES: Final = ("numpy", "pillow", *_RUNTIMES, "torchvision", "torchao", "onnx", "onnxscript", "nncf", "pnnx")
"""Distributions that may decide how fast or how right a contender is."""


def read_card(*, device: str | None, load: Load | None, started: datetime, root: Path = _ROOT) -> Card:
    """Describes this machine.

    Args:
        device: what its user calls it; None for the board's or the processor's own name.
        load: what else it did while it was measured; see `LoadMeter`.
        started: when, in UTC.
        root: the folder with proc and sys.
    """
    facts = cpuinfo(root)
    processor = processor_name(root)
    flags = facts.get("flags", facts.get("Features", "")).split()
    return Card(
        device=device or read_text(root / _BOARD, errors="replace").rstrip("\0") or processor,
        processor=processor,
        instruction_sets=tuple(flag for flag in flags if flag in _MATRIX_SETS),
        cores=default_threads(),
        processors=logical_processors(),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release().partition('-')[0]}, {platform.machine()}",
        python=platform.python_version(),
        packages=installed(PACKAGES),
        governor=read_text(root / _GOVERNOR, errors="replace") or None,
        load=load,
        date=started.isoformat(timespec="seconds"),
    )


def now() -> datetime:
    """The present time in UTC."""
    return datetime.now(timezone.utc)


def installed(names: Sequence[str]) -> tuple[Package, ...]:
    """Lists the named packages that are installed, with their versions."""
    versions = {name: installed_version(name) for name in names}
    return tuple(Package(name=name, version=version) for name, version in versions.items() if version)


class LoadMeter:
    """Measures, from its making on, what else this machine does."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._start = _ticks(root)

    def read(self) -> Load | None:
        """What others took of the time of all processors since the start; None where the system does not tell."""
        end = _ticks(self._root)
        if self._start is None or end is None:
            return None
        total, others, stolen = (now - then for now, then in zip(end, self._start, strict=True))
        # Counted in hundredths of a second, by two clocks: the sums may miss each other a little.
        others, stolen = (min(1.0, max(0.0, part / total)) if total > 0 else 0.0 for part in (others, stolen))
        return Load(others=others, stolen=stolen) if total > 0 else None


def _ticks(root: Path) -> tuple[float, float, float] | None:
    """Seconds of all processors since the system's start: all, those of other programs, and stolen ones.

    From Linux's /proc/stat, less what this process and its children that have ended took; see proc(5).
    """
    fields = read_text(root / "proc/stat").partition("\n")[0].split()[1:9]
    if len(fields) < 8 or not hasattr(os, "sysconf"):
        return None
    seconds = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = seconds
    own = os.times()
    own_seconds = own.user + own.system + own.children_user + own.children_system
    return sum(seconds), user + nice + system + interrupts + soft - own_seconds, stolen


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf"):  # as on Windows
        return None
    try:
        page, pages = (int(os.sysconf(name)) for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES"))
    except (ValueError, OSError):
        return None
    return page * pages
