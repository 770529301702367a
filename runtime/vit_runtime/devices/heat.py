"""What may hold a processor back: its governor, its temperature, and throttling, where Linux shows them.

Sources: Documentation/admin-guide/pm/cpufreq.rst and Documentation/driver-api/thermal/sysfs-api.rst in Linux for
governor and temperature, Documentation/arch/x86 for Intel's counters, and Raspberry Pi's `vcgencmd get_throttled` for
the bits of its firmware.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vit_runtime.devices.kernel_files import parse_number, read_text

_CPUS: Final = "sys/devices/system/cpu"
_PROCESSOR_SENSORS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""Names of the drivers that measure a processor, in hwmon."""
_PROCESSOR_ZONES: Final = ("cpu", "x86_pkg_temp", "soc", "tcpu")
"""What the names of a processor's thermal zones hold."""
_HOTTEST: Final = 200.0
"""No processor is hotter, in °C; sensors that are not connected say such things."""
_FIRMWARE: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
_PI_NOW: Final = {
    0: "the supply's voltage is too low",
    1: "the clock is capped",
    2: "it is throttled",
    3: "its temperature limit is reached",
}
"""Bits of a Raspberry Pi's state; the same bits 16 higher say that it has happened since the start."""


def governors(root: Path = Path("/")) -> tuple[str, ...]:
    """The governors that choose the cores' clocks, such as "performance"; empty where Linux does not tell.

    Args:
        root: the folder with Linux's `sys`.
    """
    found = {read_text(path) for path in (root / _CPUS).glob("cpu*/cpufreq/scaling_governor")}
    return tuple(sorted(filter(None, found)))


def temperature(root: Path = Path("/")) -> float | None:
    """The processor's highest temperature in °C; None where no sensor tells.

    Args:
        root: the folder with Linux's `sys`.
    """
    sensors = [
        path
        for folder in (root / "sys/class/hwmon").glob("*")
        if read_text(folder / "name") in _PROCESSOR_SENSORS
        for path in folder.glob("temp*_input")
    ]
    zones = [
        folder / "temp"
        for folder in (root / "sys/class/thermal").glob("thermal_zone*")
        if any(word in read_text(folder / "type").lower() for word in _PROCESSOR_ZONES)
    ]
    degrees = [parse_number(read_text(path)) / 1000 for path in (*sensors, *zones)]
    return max((value for value in degrees if 0 < value < _HOTTEST), default=None)


def throttling(root: Path = Path("/")) -> tuple[str, ...]:
    """What has slowed the processor down, in words; empty where nothing has, or nothing tells.

    Args:
        root: the folder with Linux's `sys`.
    """
    return (*_raspberry_pi(root), *_counted(root), *_cooling(root))


def _raspberry_pi(root: Path) -> list[str]:
    try:
        state = int(read_text(root / _FIRMWARE), 16)
    except ValueError:
        return []
    now = [words for bit, words in _PI_NOW.items() if state >> bit & 1]
    before = [f"{words} (since the start)" for bit, words in _PI_NOW.items() if state >> (bit + 16) & 1]
    return now or before


def _counted(root: Path) -> list[str]:
    counters = (root / _CPUS).glob("cpu*/thermal_throttle/*_throttle_count")
    times = max((parse_number(read_text(path)) for path in counters), default=0)
    return [f"too hot {times} times since the start"] if times else []


def _cooling(root: Path) -> list[str]:
    """Devices that cool a processor by slowing it down, and do so now."""
    active = [
        folder
        for folder in (root / "sys/class/thermal").glob("cooling_device*")
        if read_text(folder / "type").lower().startswith(("processor", "cpufreq", "cpu-"))
        and parse_number(read_text(folder / "cur_state"))
    ]
    return ["slowed down to cool it"] if active else []
