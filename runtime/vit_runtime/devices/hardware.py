"""What this machine is made of, as far as its system tells: processor, graphics, neural processing units."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vit_runtime.devices.kernel_files import read_text
from vit_runtime.devices.options import Kind

_VENDORS: Final = {"0x10de": "NVIDIA", "0x8086": "Intel", "0x1002": "AMD"}
_DISPLAY: Final = "0x03"
"""First part of a PCI device's class: displays, and 3D controllers without an outlet."""
_NEURAL: Final = "0x12"
"""Processing accelerators; Intel's NPU is one."""
_ARM_PARTS: Final = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76", "0xd42": "Cortex-A78AE"}
"""MIDR part numbers of the boards that people have (Arm's technical reference manuals); Linux gives no name on ARM."""


def hardware(root: Path = Path("/")) -> Iterator[tuple[str, Kind]]:
    """Vendor and kind of each device: ("Intel", "cpu"), ("NVIDIA", "gpu"), ("Jetson", "gpu"); from Linux alone.

    Args:
        root: the folder with Linux's `proc` and `sys`.
    """
    if cpuinfo(root).get("vendor_id") == "GenuineIntel":
        yield "Intel", "cpu"
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        kinds: dict[str, Kind] = {_DISPLAY: "gpu", _NEURAL: "npu"}
        kind = kinds.get(read_text(device / "class")[:4])
        vendor = _VENDORS.get(read_text(device / "vendor"))
        if kind and vendor:
            yield vendor, kind
    if "nvidia,tegra" in read_text(root / "proc/device-tree/compatible"):
        yield "Jetson", "gpu"


def processor_name(root: Path = Path("/")) -> str:
    """The processor's name, as its maker gives it.

    Args:
        root: the folder with Linux's `proc`.
    """
    if sys.platform == "darwin":
        import subprocess  # 3 ms, which other systems do without

        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"  # noqa: S603
    if sys.platform == "win32":
        return platform.processor() or platform.machine()
    facts = cpuinfo(root)
    part = facts.get("CPU part", "")
    # A kernel for ARM may call any core "ARMv8 Processor rev 3 (v8l)".
    known = _ARM_PARTS.get(part) or facts.get("model name")
    return known or (f"ARM part {part}" if part else platform.machine())


def board_name(root: Path = Path("/")) -> str:
    """The board's or computer's name, as its maker gives it: "Raspberry Pi 5 Model B Rev 1.0"; from Linux alone.

    It is empty where nothing tells.

    Args:
        root: the folder with Linux's `proc` and `sys`.
    """
    board = read_text(root / "proc/device-tree/model", errors="replace").strip("\0")
    return board or read_text(root / "sys/class/dmi/id/product_name", errors="replace")


def cpuinfo(root: Path = Path("/")) -> dict[str, str]:
    """Keys and values of the first processor in Linux's /proc/cpuinfo; empty where there is none."""
    first = read_text(root / "proc/cpuinfo", errors="replace").partition("\n\n")[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
