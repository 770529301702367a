"""Shows what a machine can compute on as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vit_runtime.command_line.terminal import columns
from vit_runtime.devices.listing import Device
from vit_runtime.devices.options import KIND_NAMES

_HEADER: Final = ("provider", "device", "from", "state")


def describe_devices(devices: Sequence[Device]) -> str:
    """A line for each device, those that work first; what is wrong with the others stands in their line."""
    rows = [_HEADER, *(_cells(device) for device in sorted(devices, key=lambda device: not device.works))]
    return columns(rows)


def _cells(device: Device) -> tuple[str, ...]:
    kind = KIND_NAMES[device.kind]
    named = f"{kind}: {device.name}" if device.name else kind
    return device.provider, named, device.source or "-", "works" if device.works else device.problem
