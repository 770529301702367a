"""Which settings are worth trying on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, cast

from vit_runtime.devices.listing import Device
from vit_runtime.devices.providers import SLOW_TO_START, Provider
from vit_runtime.devices.purpose import Purpose
from vit_runtime.devices.threads import default_threads, logical_processors
from vit_runtime.tuning.setting import Setting

_BATCH: Final = 8
"""Pictures in a run where a processor computes a batch."""
_BATCHES: Final = (8, 32)
"""The same for a GPU."""


def settings_to_try(devices: Iterable[Device], purpose: Purpose, provider: Provider = "auto") -> list[Setting]:
    """Lists what to try on the devices that work, the CPU with its usual threads first.

    Args:
        devices: what there is.
        purpose: what is to be fast.
        provider: the only one to try; "auto" tries all but those whose first start takes minutes.
    """
    found = [
        setting
        for device in devices
        if device.works
        and (device.provider == provider or (provider == "auto" and device.provider not in SLOW_TO_START))
        for setting in (_quick if purpose == "latency" else _many)(device)
    ]
    return sorted(found, key=lambda setting: setting.provider != "cpu")


def _quick(device: Device) -> Iterator[Setting]:
    """One picture at a time: with all cores, with half of them, and with hardware threads besides."""
    provider = cast("Provider", device.provider)
    if device.kind != "cpu":
        yield Setting(provider=provider, threads=None)
        return
    usual = default_threads()
    for threads in dict.fromkeys((usual, max(1, usual // 2), max(usual, logical_processors()))):
        yield Setting(provider=provider, threads=threads)


def _many(device: Device) -> Iterator[Setting]:
    """Many pictures: all cores on one after the other, a batch, and one core for each of several runs at a time."""
    provider = cast("Provider", device.provider)
    if device.kind != "cpu":
        yield from (Setting(provider=provider, threads=None, batch=batch) for batch in (1, *_BATCHES))
        return
    cores = default_threads()
    yield Setting(provider=provider, threads=cores)
    yield Setting(provider=provider, threads=cores, batch=_BATCH)
    if cores > 1:
        yield Setting(provider=provider, threads=1, runs=cores)
