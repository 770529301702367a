"""The machine as far as it decides how fast a model runs: processor, instruction sets, cores, memory, heat."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_runtime.devices.cgroups import memory_left
from vit_runtime.devices.hardware import board_name, cpuinfo, processor_name
from vit_runtime.devices.heat import governors, temperature, throttling
from vit_runtime.devices.kernel_files import parse_number, read_text
from vit_runtime.devices.threads import default_threads, logical_processors

_X86: Final = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
}
"""Instruction sets that matter, as Linux calls them in /proc/cpuinfo, and as people do."""
_ARM: Final = {
    "asimd": "NEON",
    "asimdhp": "fp16",
    "asimddp": "dot product",
    "i8mm": "int8 matrix product",
    "sve": "SVE",
    "bf16": "bf16",
}
_APPLE: Final = {"FEAT_FP16": "fp16", "FEAT_DotProd": "dot product", "FEAT_I8MM": "int8 matrix product"}
_INT8: Final = frozenset({"AVX-VNNI", "AVX-512 VNNI", "AMX int8", "dot product", "int8 matrix product"})
"""Those that multiply int8 numbers several times as fast as float32."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts about this machine; those that its system does not tell are empty or None."""

    system: str
    """The operating system and the architecture: "Linux x86_64"."""
    board: str
    """The board's or computer's name."""
    processor: str
    instruction_sets: tuple[str, ...]
    """Those that matter for a model's speed, among the processor's."""
    fast_int8: bool | None
    """Whether one of them multiplies int8 fast; None where the system does not tell."""
    cores: int
    """Physical performance cores that this process may use: the threads that a model gets by itself."""
    logical_processors: int
    memory_mb: int | None
    """All memory, in 10⁶ bytes."""
    available_mb: int | None
    """What a new program could have of it."""
    governors: tuple[str, ...]
    temperature: float | None
    """The processor's, in °C."""
    throttling: tuple[str, ...]
    """What has slowed the processor down, in words."""


def this_machine(root: Path = Path("/")) -> Machine:
    """Finds out what this machine is like; nothing is raised for what cannot be found out.

    Args:
        root: the folder with Linux's `proc` and `sys`.
    """
    sets = _instruction_sets(root)
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        board=board_name(root),
        processor=processor_name(root),
        instruction_sets=sets,
        fast_int8=bool(_INT8 & {*sets}) if sets else None,
        cores=default_threads(root),
        logical_processors=logical_processors(),
        memory_mb=_memory_mb("MemTotal", root),
        available_mb=available_mb(root),
        governors=governors(root),
        temperature=temperature(root),
        throttling=throttling(root),
    )


def available_mb(root: Path = Path("/")) -> int | None:
    """Memory that a new program could have, in 10⁶ bytes; None where the system does not tell.

    Args:
        root: the folder with Linux's `proc`.
    """
    return _memory_mb("MemAvailable", root)


def memory_to_have(root: Path = Path("/")) -> int | None:
    """Memory that this process can still get, in bytes, swapping included and within its control groups.

    It is None where the system does not tell.

    Args:
        root: the folder with Linux's `proc` and `sys`.
    """
    facts = _kilobytes(root / "proc/meminfo")
    if "MemAvailable" not in facts:
        return None
    swap = facts.get("SwapFree", 0) * 1024
    all_of_it, groups = facts["MemAvailable"] * 1024, memory_left(root)
    return (all_of_it if groups is None else min(all_of_it, groups)) + swap


def recent_load() -> float:
    """Share of the logical processors that was busy in the last minute; 0 on Windows, which does not tell."""
    if not hasattr(os, "getloadavg"):
        return 0.0
    return min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def resident_mb(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """Memory of this process in 10⁶ bytes, now and at most so far; None where the system does not tell.

    Args:
        root: the folder with Linux's `proc`.
    """
    status = _kilobytes(root / "proc/self/status")
    now, peak = (status.get(key) for key in ("VmRSS", "VmHWM"))
    return _megabytes(now), _megabytes(peak)


def _instruction_sets(root: Path) -> tuple[str, ...]:
    if sys.platform == "darwin":
        return tuple(name for feature, name in _APPLE.items() if _apple_has(feature))
    facts = cpuinfo(root)
    flags, known = (facts["flags"], _X86) if "flags" in facts else (facts.get("Features", ""), _ARM)
    return tuple(name for flag, name in known.items() if flag in flags.split())


def _apple_has(feature: str) -> bool:
    import subprocess

    command = ["/usr/sbin/sysctl", "-n", f"hw.optional.arm.{feature}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "1"  # noqa: S603


def _memory_mb(key: str, root: Path) -> int | None:
    return _megabytes(_kilobytes(root / "proc/meminfo").get(key))


def _megabytes(kilobytes: int | None) -> int | None:
    return None if kilobytes is None else kilobytes * 1024 // 1_000_000


def _kilobytes(path: Path) -> dict[str, int]:
    """Numbers of a file with lines such as `MemTotal:  24576 kB`."""
    lines = (line.partition(":") for line in read_text(path).splitlines())
    return {key: parse_number(rest.split()[0]) for key, _, rest in lines if rest.strip().endswith("kB")}
